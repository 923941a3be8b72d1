#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// KV pages by what they hold: a radix tree whose edges are the tokens of one whole page, so that a node
/// stands for a page and all pages before it (Zheng et al. 2024, "SGLang": RadixAttention). Knows no holders:
/// its user says which pages are idle. Not thread-safe.
class PrefixIndex {
 public:
  explicit PrefixIndex(std::int32_t page_tokens);
  ~PrefixIndex();
  /// Pages of the longest known beginning of `tokens`, at most `most`. They count as used now.
  std::vector<PageId> find(std::span<const TokenId> tokens, std::size_t most);
  /// pages[i] holds page i of `tokens`. Returns those that are new to the index. Where another page holds the
  /// same, that one stays, and no page behind it is added.
  std::vector<PageId> add(std::span<const TokenId> tokens, std::span<const PageId> pages);
  /// Forgets the page that was used longest ago among those that are idle and that no known page follows.
  std::optional<PageId> evict(const std::function<bool(PageId)>& is_idle);

 private:
  struct Node {
    PageId page = -1;
    Node* parent = nullptr;
    std::uint64_t used = 0;
    std::map<std::vector<TokenId>, std::unique_ptr<Node>> children;
  };
  void touch(Node& node);
  std::vector<TokenId> edge(std::span<const TokenId> tokens, std::size_t page) const;

  std::size_t page_tokens_;
  std::unique_ptr<Node> root_;
  std::set<std::pair<std::uint64_t, Node*>> leaves_;  // oldest first
  std::uint64_t now_ = 0;
};

}  // namespace llm_tp

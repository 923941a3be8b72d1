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

#include "base/adapter_id.h"
#include "base/ids.h"

namespace llm_tp {

/// Pages of neighbouring positions of a sequence in one cache.
struct PageRun {
  std::int32_t pages_before = 0;  // of the sequence, that are not needed any more
  std::vector<PageId> pages;
};

/// KV pages by what they hold: a radix tree whose edges are the tokens of one whole page, so that a node
/// stands for a page and all pages before it (Zheng et al. 2024, "SGLang": RadixAttention). A node has a page
/// in each cache. Where the layers of a cache look back over a number of positions alone, it may have none
/// there: a beginning needs only the last of its pages. Knows no holders: its user says which pages are idle.
/// What an adapter made is another tree: keys and values differ. Not thread-safe.
class PrefixIndex {
 public:
  /// lookbacks: of each cache, the positions before a token whose pages it needs; 0: all. At most one is 0,
  /// the first.
  PrefixIndex(std::int32_t page_tokens, std::vector<std::int32_t> lookbacks);
  ~PrefixIndex();
  struct Found {
    std::size_t length = 0;     // pages of the beginning
    std::vector<PageRun> runs;  // its last pages in each cache
  };
  struct CachePage {
    std::size_t cache = 0;
    PageId page = 0;
    friend bool operator==(const CachePage&, const CachePage&) = default;
  };
  /// The longest beginning of `tokens` whose pages are known, of at most `most` pages. What it passes counts
  /// as used now.
  Found find(std::span<const TokenId> tokens, std::size_t most, AdapterId adapter = kNoAdapter);
  /// runs[c] holds pages of `tokens` in cache c up to its first `length` pages. Returns those that are new to
  /// the index. Where another page holds the same, that one stays; and in a cache that needs all pages, none
  /// behind it is added.
  std::vector<CachePage> add(std::span<const TokenId> tokens, std::size_t length,
                             std::span<const PageRun> runs, AdapterId adapter = kNoAdapter);
  using IsIdle = std::function<bool(const CachePage&)>;
  /// Forgets the page of a cache that was used longest ago among those that are idle; in a cache that needs
  /// all pages, of those that no known page follows, together with the same tokens' pages in the other
  /// caches. Returns what was forgotten, which is nothing where no such page is there.
  std::vector<CachePage> evict(std::size_t cache, const IsIdle& is_idle);
  /// All that it knows of a cache, in no order.
  std::vector<PageId> pages(std::size_t cache) const;

 private:
  static constexpr PageId kNoPage = -1;
  struct Node {
    std::vector<PageId> pages;  // of each cache
    Node* parent = nullptr;
    std::uint64_t used = 0;
    std::map<std::vector<TokenId>, std::unique_ptr<Node>> children;
  };
  void touch(Node& node);
  bool needs_all(std::size_t cache) const { return lookbacks_[cache] == 0; }
  /// Whether its page in a cache may be forgotten as far as the tree goes.
  bool may_go(const Node& node, std::size_t cache) const;
  /// Puts the node where it belongs after a change of its pages or children.
  void file(Node& node);
  void unfile(Node& node);
  void remove_leaves_without_pages(Node* node);
  std::vector<TokenId> edge(std::span<const TokenId> tokens, std::size_t page, AdapterId adapter) const;

  std::size_t page_tokens_;
  std::vector<std::size_t> lookbacks_;
  std::unique_ptr<Node> root_;
  std::vector<std::set<std::pair<std::uint64_t, Node*>>> may_go_;  // of each cache, oldest first
  std::uint64_t now_ = 0;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// The bytes of all tokens of a vocabulary as a trie, in preorder. Tokens without bytes are not in it.
/// Immutable.
class TokenTrie {
 public:
  struct Node {
    std::uint8_t byte = 0;         // on the edge that leads here
    std::uint16_t depth = 0;       // bytes from the root
    std::int32_t end = 0;          // first node behind this one's subtree
    std::int32_t first_token = 0;  // run of tokens() that end here
    std::int32_t tokens = 0;
  };
  explicit TokenTrie(const std::vector<std::string>& pieces);
  const std::vector<Node>& nodes() const noexcept { return nodes_; }
  const std::vector<TokenId>& tokens() const noexcept { return tokens_; }
  std::size_t depth() const noexcept { return depth_; }
  /// The longest token that is the beginning of `text`; -1 where there is none.
  TokenId longest(std::string_view text) const;

 private:
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  std::size_t depth_ = 0;
};

}  // namespace llm_tp

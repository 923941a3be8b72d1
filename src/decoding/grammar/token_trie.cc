#include "decoding/grammar/token_trie.h"

#include <algorithm>
#include <numeric>

namespace llm_tp {

TokenTrie::TokenTrie(const std::vector<std::string>& pieces) {
  constexpr std::size_t kLongest = 0xFFFF;
  std::vector<TokenId> order;
  for (std::size_t id = 0; id < pieces.size(); ++id)
    if (!pieces[id].empty() && pieces[id].size() <= kLongest) order.push_back(static_cast<TokenId>(id));
  const auto piece = [&](TokenId id) -> const std::string& { return pieces[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return piece(a) < piece(b); });

  std::vector<std::size_t> path;  // nodes from the root to the last token's
  const auto close_to = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back())
      nodes_[path.back()].end = static_cast<std::int32_t>(nodes_.size());
  };
  std::string_view before;
  for (const TokenId id : order) {
    const std::string& bytes = piece(id);
    const std::size_t same = static_cast<std::size_t>(
        std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end()).first - bytes.begin());
    close_to(same);
    for (std::size_t i = same; i < bytes.size(); ++i) {
      path.push_back(nodes_.size());
      nodes_.push_back({static_cast<std::uint8_t>(bytes[i]), static_cast<std::uint16_t>(i + 1), 0,
                        static_cast<std::int32_t>(tokens_.size()), 0});
    }
    ++nodes_[path.back()].tokens;
    tokens_.push_back(id);
    depth_ = std::max(depth_, bytes.size());
    before = bytes;
  }
  close_to(0);
}

TokenId TokenTrie::longest(std::string_view text) const {
  TokenId best = -1;
  std::size_t at = 0, end = nodes_.size(), depth = 0;
  while (at < end && depth < text.size()) {
    const Node& node = nodes_[at];
    if (node.byte != static_cast<std::uint8_t>(text[depth])) {
      at = static_cast<std::size_t>(node.end);
      continue;
    }
    if (node.tokens > 0) best = tokens_[static_cast<std::size_t>(node.first_token)];
    end = static_cast<std::size_t>(node.end);
    ++at, ++depth;
  }
  return best;
}

}  // namespace llm_tp

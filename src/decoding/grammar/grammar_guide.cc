#include "decoding/grammar/grammar_guide.h"

#include <algorithm>
#include <unordered_map>

#include "decoding/grammar/byte_automaton.h"
#include "decoding/grammar/token_trie.h"

namespace llm_tp {
namespace {

constexpr std::size_t kMostMasks = 4096;
constexpr std::size_t kLongestForced = 256;  // bytes

class GrammarGuide final : public Guide {
 public:
  GrammarGuide(Network network, const std::vector<std::string>& pieces, std::vector<TokenId> end_ids)
      : automaton_(std::move(network)), trie_(pieces), pieces_(pieces), end_ids_(std::move(end_ids)) {
    std::sort(end_ids_.begin(), end_ids_.end());
  }

  State start() override { return automaton_.start(); }

  State after(State state, TokenId token) override {
    const std::string& piece = pieces_.at(static_cast<std::size_t>(token));
    if (piece.empty()) return kDead;
    for (const char c : piece) {
      if (state == kDead) return kDead;
      state = automaton_.next(state, static_cast<std::uint8_t>(c));
    }
    return state;
  }

  const TokenMask& mask(State state) override {
    const auto known = masks_.find(state);
    if (known != masks_.end()) return known->second;
    if (masks_.size() >= kMostMasks) masks_.clear();
    return masks_.emplace(state, make_mask(state)).first->second;
  }

  bool is_over(State state) override {
    return state != kDead && automaton_.accepts(state) && !automaton_.has_next(state);
  }

  void forced(State state, std::int32_t most, std::vector<TokenId>& out) override {
    std::string text;
    for (int byte = 0; state != kDead && text.size() < kLongestForced;
         text.push_back(static_cast<char>(byte))) {
      byte = automaton_.only_byte(state);
      if (byte < 0) break;
      state = automaton_.next(state, static_cast<std::uint8_t>(byte));
    }
    std::string_view rest = text;
    for (std::int32_t i = 0; i < most && rest.size() > 1; ++i) {
      const TokenId token = trie_.longest(rest);
      if (token < 0) return;
      out.push_back(token);
      rest.remove_prefix(pieces_[static_cast<std::size_t>(token)].size());
    }
  }

 private:
  TokenMask make_mask(State state) {
    std::vector<std::uint32_t> allowed;
    if (state != kDead) {
      std::vector<State> path(trie_.depth() + 1, kDead);
      path[0] = state;
      const auto& nodes = trie_.nodes();
      for (std::size_t i = 0; i < nodes.size();) {
        const TokenTrie::Node& node = nodes[i];
        const State to = automaton_.next(path[node.depth - 1u], node.byte);
        if (to == kDead) {
          i = static_cast<std::size_t>(node.end);
          continue;
        }
        path[node.depth] = to;
        for (std::int32_t t = 0; t < node.tokens; ++t)
          allowed.push_back(
              static_cast<std::uint32_t>(trie_.tokens()[static_cast<std::size_t>(node.first_token + t)]));
        ++i;
      }
      if (automaton_.accepts(state))
        for (const TokenId id : end_ids_) allowed.push_back(static_cast<std::uint32_t>(id));
    }
    std::sort(allowed.begin(), allowed.end());
    allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
    return shortest(std::move(allowed));
  }

  TokenMask shortest(std::vector<std::uint32_t> allowed) const {
    const std::size_t words = (pieces_.size() + 31) / 32;
    if (allowed.size() <= words) return {MaskKind::kAllowed, std::move(allowed)};
    TokenMask bits{MaskKind::kBits, std::vector<std::uint32_t>(words, 0)};
    for (const std::uint32_t id : allowed) bits.words[id / 32] |= 1u << (id % 32);
    if (pieces_.size() - allowed.size() > words) return bits;
    TokenMask forbidden{MaskKind::kForbidden, {}};
    for (std::uint32_t id = 0; id < pieces_.size(); ++id)
      if ((bits.words[id / 32] >> (id % 32) & 1u) == 0) forbidden.words.push_back(id);
    return forbidden;
  }

  ByteAutomaton automaton_;
  TokenTrie trie_;
  std::vector<std::string> pieces_;
  std::vector<TokenId> end_ids_;
  std::unordered_map<State, TokenMask> masks_;
};

}  // namespace

std::shared_ptr<Guide> make_guide(const Grammar& grammar, const std::string& what,
                                  const std::vector<std::string>& pieces, std::vector<TokenId> end_ids) {
  return std::make_shared<GrammarGuide>(Network::compile(grammar, what), pieces, std::move(end_ids));
}

}  // namespace llm_tp

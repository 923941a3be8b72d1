#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/subword_model.h"

namespace llm_tp {

/// Byte-pair encoding (Sennrich et al. 2016), as Hugging Face's tokenizers do it: a piece's characters become
/// tokens, and of all neighbouring pairs the one whose merge comes first is joined, the leftmost of equals,
/// until none is left. n steps of O(log n).
class BpeModel final : public SubwordModel {
 public:
  struct Merge {
    TokenId left, right, joined;
    std::uint32_t rank;
  };
  /// By text. Control tokens are left out: no plain text becomes one.
  using Tokens = std::unordered_map<std::string, TokenId>;
  struct Rules {
    std::vector<Merge> merges;  // of equal pairs the last counts
    bool byte_fallback =
        false;  // a character without a token becomes the tokens of its bytes, where all exist
    std::optional<TokenId> unknown;  // else it becomes this; without it, nothing
    std::string
        missing_unknown;  // the name of an unknown token that the vocabulary does not hold: an error then
    bool fuse_unknown = false;   // neighbours become one unknown token
    bool ignore_merges = false;  // a piece that is a token as it is becomes that token
  };
  BpeModel(const Tokens& tokens, Rules rules);
  std::size_t encode(std::string_view piece, std::vector<TokenId>& out) const override;

 private:
  struct Rule {
    std::uint32_t rank;
    TokenId joined;
  };
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  static std::uint64_t key(TokenId left, TokenId right) {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
  }
  std::vector<TokenId> ids_of_characters(std::string_view piece) const;
  const Rule* rule_of(TokenId left, TokenId right) const;

  Rules rules_;  // its merges lie in pairs_
  std::unordered_map<std::uint64_t, Rule> pairs_;
  std::unordered_map<char32_t, TokenId> characters_;
  std::array<std::optional<TokenId>, 256> bytes_{};
  std::unordered_map<std::string, TokenId, TextHash, std::equal_to<>>
      whole_pieces_;  // empty unless ignore_merges
};

}  // namespace llm_tp

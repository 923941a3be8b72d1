#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/subword_model.h"

namespace llm_tp {

/// A unigram language model (Kudo 2018), as Hugging Face's tokenizers do it: of all ways to cut a piece into
/// tokens the one with the largest sum of scores (Viterbi). A character that no token covers counts as
/// unknown, ten below the lowest score; neighbouring ones are one. n steps times the length of the longest
/// token.
class UnigramModel final : public SubwordModel {
 public:
  struct Entry {
    std::string text;
    double score = 0;
  };
  /// entries: by id; of equal texts the last counts. byte_fallback: unknown characters become the tokens of
  /// their bytes, where all exist.
  UnigramModel(const std::vector<Entry>& entries, std::optional<TokenId> unknown, bool byte_fallback);
  /// Errors: kBadData for an unknown character where the model has no unknown token.
  std::size_t encode(std::string_view piece, std::vector<TokenId>& out) const override;

 private:
  struct Step {
    double score = 0;
    std::size_t begin = kNone;
    TokenId id = -1;  // -1: unknown
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  /// The node after `byte`; 0, the root, where there is none.
  std::uint32_t child(std::uint32_t node, char byte) const;
  void put_unknown(std::string_view text, std::vector<TokenId>& out) const;

  // The tree of texts: of each node the token that ends there, or -1, and its children by (node, byte).
  std::vector<TokenId> nodes_;
  std::unordered_map<std::uint64_t, std::uint32_t> children_;
  std::vector<double> scores_;
  std::optional<TokenId> unknown_;
  double unknown_score_ = 0;
  bool byte_fallback_;
  std::array<std::optional<TokenId>, 256> bytes_{};
};

}  // namespace llm_tp

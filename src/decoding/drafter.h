#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Guesses how a sequence goes on, from its tokens alone. One object a choice.
class Drafter {
 public:
  virtual ~Drafter() = default;
  /// Appends at most `most` guesses of what follows `tokens`.
  virtual void propose(std::span<const TokenId> tokens, std::int32_t most, std::vector<TokenId>& out) = 0;
  /// What the model chose after the last token and after each guess; chosen[i] for a wrong guess i - 1 is
  /// what it would have chosen then. accepted: so many guesses were right.
  virtual void observe(std::span<const TokenId> chosen, std::int32_t accepted) = 0;
};

/// Prompt lookup (Saxena 2023; "LLMA", Yang et al. 2023): what followed the last occurrence of the last n
/// tokens, the largest n of 4 to 2 that occurred.
std::unique_ptr<Drafter> make_ngram_drafter();

/// Lookahead decoding (Fu et al. 2024) with a window of one dimension: the guesses are refined by Jacobi
/// iteration (each becomes what the model chose at its place), and runs of choices go into a pool of n-grams
/// by their first token, from which the next guesses start.
std::unique_ptr<Drafter> make_lookahead_drafter();

/// How many guesses to make: more after all were right, fewer after a wrong one.
class DraftLength {
 public:
  explicit DraftLength(std::int32_t most) : most_(most), next_(most < 4 ? most : 4) {}
  std::int32_t next() const noexcept { return next_; }
  void observe(std::int32_t proposed, std::int32_t accepted) noexcept {
    if (proposed == 0) return;
    if (accepted == proposed)
      next_ = next_ + 2 < most_ ? next_ + 2 : most_;
    else
      next_ = accepted + 1 < most_ ? accepted + 1 : most_;
  }

 private:
  std::int32_t most_, next_;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>

#include "base/philox.h"

namespace llm_tp {

/// The draw of one token at one position of one sequence: a standard Gumbel variable, -log(-log(u)), u in (0,
/// 1). argmax over tokens of logit + gumbel is a sample of softmax(logits) (Gumbel-max trick), and each rank
/// can take the maximum over its own vocabulary rows.
class GumbelDraw {
 public:
  GumbelDraw(const DrawStream& stream, TokenId token) : high_bits_(random_bits(stream, token)) {}
  double value() const noexcept;
  /// True only where value() < bound for sure; cheaper than value().
  bool cannot_reach(double bound) const noexcept;

 private:
  std::uint64_t high_bits_;  // 53 of them
};

}  // namespace llm_tp

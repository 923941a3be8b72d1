#pragma once
#include <array>
#include <cstdint>

#include "base/ids.h"

namespace llm_tp {

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): 128 random bits that
/// are a function of key and counter alone, so that a draw does not depend on what was drawn before or by
/// whom.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

/// The draw of one token at one position of one sequence: a standard Gumbel variable, -log(-log(u)), u in (0,
/// 1). argmax over tokens of logit + gumbel is a sample of softmax(logits) (Gumbel-max trick), and each rank
/// can take the maximum over its own vocabulary rows.
class GumbelDraw {
 public:
  GumbelDraw(std::uint64_t seed, std::int32_t sequence, std::int32_t position, TokenId token);
  double value() const noexcept;
  /// True only where value() < bound for sure; cheaper than value().
  bool cannot_reach(double bound) const noexcept;

 private:
  std::uint64_t high_bits_;  // 53 of them
};

}  // namespace llm_tp

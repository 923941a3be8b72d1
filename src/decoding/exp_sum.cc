#include "decoding/exp_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

/// Compiled into each caller, with the instruction set of that caller.
#define LLM_TP_INLINE [[gnu::always_inline]] inline

namespace llm_tp {
namespace {

constexpr std::size_t kLanes = 8;
constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kSmallest = -87.0f;  // exp of less is taken as 0: it could not change a sum that holds 1

constexpr std::size_t kBlock = 64;  // long enough for the compiler to vectorise loops over it
constexpr std::uint32_t kSmallestBits = std::bit_cast<std::uint32_t>(kSmallest);
using Lanes = std::array<float, kLanes>;
using Block = std::array<float, kBlock>;

/// exp(x) for x <= 0, each of a block: 2^n * 2^f with f in [-1/2, 1/2] by a polynomial (the Taylor series of
/// e^(f ln 2)). Plain multiplies and adds without branches, so that it vectorises and gives the same bits
/// everywhere. Very small x become kSmallest, and their e 0: `above` has all bits set for the others, found
/// from the bits of floats below zero, whose order is that of their magnitudes.
LLM_TP_INLINE void exp_block(Block& x, Block& e) {
  for (std::size_t i = 0; i < kBlock; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) | 0x80000000u;
    const auto above = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits - kSmallestBits) >> 31);
    const float clamped = std::bit_cast<float>((bits & above) | (kSmallestBits & ~above));
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    const float shifted = clamped * 1.44269504088896341f + kRound;
    const float whole = shifted - kRound;
    // Cody and Waite: ln 2 in two parts.
    const float rest = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    // The last bits of `shifted` are the whole number; added to the exponent of p they multiply it by 2^n.
    const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
    const std::uint32_t value = std::bit_cast<std::uint32_t>(p) + exponent;
    e[i] = std::bit_cast<float>(value & above);
    x[i] = clamped;
  }
}

LLM_TP_INLINE float largest(std::span<const float> scores) {
  Lanes largest;
  largest.fill(kNone);
  std::size_t i = 0;
  for (; i + kLanes <= scores.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      largest[lane] = scores[i + lane] > largest[lane] ? scores[i + lane] : largest[lane];
  float maximum = *std::max_element(largest.begin(), largest.end());
  for (; i < scores.size(); ++i) maximum = std::max(maximum, scores[i]);
  return maximum;
}

LLM_TP_INLINE ExpSum sum_of_exp(std::span<const float> scores, float scale) {
  const float maximum = largest(scores);
  if (maximum == kNone) return {kNone, 0, 0};
  Lanes sums{}, weighted{};
  for (std::size_t begin = 0; begin < scores.size(); begin += kBlock) {
    const std::size_t count = std::min(kBlock, scores.size() - begin);
    Block x, e;
    if (count < kBlock) x.fill(kNone);
    for (std::size_t i = 0; i < count; ++i) x[i] = (scores[begin + i] - maximum) * scale;
    exp_block(x, e);
    for (std::size_t i = 0; i < kBlock; i += kLanes)
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += e[i + lane];
        weighted[lane] += e[i + lane] * x[i + lane];
      }
  }
  ExpSum result{maximum, 0, 0};
  for (std::size_t lane = 0; lane < kLanes; ++lane)
    result.sum += sums[lane], result.weighted += weighted[lane];
  return result;
}

// Eight lanes at a time where the processor can; the bits are the same, as no operation is fused.
#if defined(__x86_64__)
[[gnu::target("avx2")]] ExpSum sum_of_exp_avx2(std::span<const float> scores, float scale) {
  return sum_of_exp(scores, scale);
}
const bool kHasAvx2 = __builtin_cpu_supports("avx2") != 0;
#endif

}  // namespace

float largest_of(std::span<const float> scores) { return largest(scores); }

ExpSum exp_sum(std::span<const float> scores, float scale) {
#if defined(__x86_64__)
  if (kHasAvx2) return sum_of_exp_avx2(scores, scale);
#endif
  return sum_of_exp(scores, scale);
}

Normaliser merge_sums(std::span<const std::span<const ExpSum>> ranks, double scale) {
  double maximum = -std::numeric_limits<double>::infinity();
  for (const auto& runs : ranks)
    for (const ExpSum& run : runs) maximum = std::max(maximum, run.maximum);
  if (std::isinf(maximum)) return {maximum, 0};
  double sum = 0, weighted = 0;
  for (const auto& runs : ranks)
    for (const ExpSum& run : runs) {
      if (std::isinf(run.maximum)) continue;
      const double shift = (run.maximum - maximum) * scale, factor = std::exp(shift);
      sum += run.sum * factor;
      weighted += (run.weighted + run.sum * shift) * factor;
    }
  return {maximum * scale + std::log(sum), std::log(sum) - weighted / sum};
}

}  // namespace llm_tp

#include "decoding/exp_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

/// Compiled into each caller, with the instruction set of that caller.
#define LLM_TP_INLINE [[gnu::always_inline]] inline

namespace llm_tp {
namespace {

constexpr std::size_t kLanes = 8;
constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kSmallest = -87.0f;  // exp of less is taken as 0: it could not change a sum that holds 1
constexpr std::uint32_t kSmallestBits = std::bit_cast<std::uint32_t>(kSmallest);

// The compilers' own vectors: one register with AVX2, two with SSE, the same lanes. Floats(bits) keeps the
// bits.
using Floats [[gnu::vector_size(4 * kLanes)]] = float;
using Bits [[gnu::vector_size(4 * kLanes)]] = std::uint32_t;
using Ints [[gnu::vector_size(4 * kLanes)]] = std::int32_t;

/// Eight scores, or those that are left and then nothing.
LLM_TP_INLINE void load(Floats& lanes, std::span<const float> scores, std::size_t begin) {
  if (begin + kLanes <= scores.size()) {
    std::memcpy(&lanes, scores.data() + begin, sizeof lanes);
  } else {
    lanes = Floats{} + kNone;
    for (std::size_t i = 0; begin + i < scores.size(); ++i) lanes[i] = scores[begin + i];
  }
}

/// e = exp(x) for x <= 0: 2^n * 2^f with f in [-1/2, 1/2] by a polynomial (the Taylor series of e^(f ln 2)).
/// Plain multiplies and adds, so that it gives the same bits everywhere. Very small x become kSmallest, and
/// their e 0: `above` has all bits set for the others, found from the bits of floats below zero, whose order
/// is that of their magnitudes.
LLM_TP_INLINE void exponential(Floats& x, Floats& e) {
  const Bits bits = Bits(x) | 0x80000000u;
  const Bits below = bits - kSmallestBits;
  const Ints sign = Ints(below) >> 31;
  const Bits above = Bits(sign);
  const Bits clamped = (bits & above) | (kSmallestBits & ~above);
  x = Floats(clamped);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504088896341f + kRound;
  const Floats whole = shifted - kRound;
  // Cody and Waite: ln 2 in two parts.
  const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  // The last bits of `shifted` are the whole number; added to the exponent of p they multiply it by 2^n.
  const Bits value = (Bits(p) + (Bits(shifted) << 23)) & above;
  e = Floats(value);
}

LLM_TP_INLINE float largest(std::span<const float> scores) {
  Floats most = Floats{} + kNone, lanes;
  for (std::size_t begin = 0; begin < scores.size(); begin += kLanes) {
    load(lanes, scores, begin);
    most = lanes > most ? lanes : most;
  }
  float maximum = kNone;
  for (std::size_t lane = 0; lane < kLanes; ++lane) maximum = std::max(maximum, most[lane]);
  return maximum;
}

LLM_TP_INLINE ExpSum sum_of_exp(std::span<const float> scores, float scale) {
  const float maximum = largest(scores);
  if (maximum == kNone) return {kNone, 0, 0};
  Floats sums{}, weighted{}, x, e;
  for (std::size_t begin = 0; begin < scores.size(); begin += kLanes) {
    load(x, scores, begin);
    x = (x - maximum) * scale;
    exponential(x, e);
    sums += e;
    weighted += e * x;
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
[[gnu::target("avx2")]] float largest_avx2(std::span<const float> scores) { return largest(scores); }
const bool kHasAvx2 = __builtin_cpu_supports("avx2") != 0;
#endif

}  // namespace

float largest_of(std::span<const float> scores) {
#if defined(__x86_64__)
  if (kHasAvx2) return largest_avx2(scores);
#endif
  return largest(scores);
}

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

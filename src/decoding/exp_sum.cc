#include "decoding/exp_sum.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/exp_below_zero.h"

/// Compiled into each caller, with the instruction set of that caller.
#define LLM_TP_INLINE [[gnu::always_inline]] inline

namespace llm_tp {
namespace {

constexpr std::size_t kLanes = 8;

// The compilers' own vectors: one register with AVX2, two with SSE, the same lanes.
using Floats [[gnu::vector_size(4 * kLanes)]] = float;
using Bits [[gnu::vector_size(4 * kLanes)]] = std::uint32_t;
using Ints [[gnu::vector_size(4 * kLanes)]] = std::int32_t;

/// Eight scores, or those that are left and then nothing.
LLM_TP_INLINE void load(Floats& lanes, std::span<const float> scores, std::size_t begin) {
  if (begin + kLanes <= scores.size()) {
    std::memcpy(&lanes, scores.data() + begin, sizeof lanes);
  } else {
    lanes = Floats{} + kForbiddenScore;
    for (std::size_t i = 0; begin + i < scores.size(); ++i) lanes[i] = scores[begin + i];
  }
}

LLM_TP_INLINE float largest(std::span<const float> scores) {
  Floats most = Floats{} + kForbiddenScore, lanes;
  for (std::size_t begin = 0; begin < scores.size(); begin += kLanes) {
    load(lanes, scores, begin);
    most = lanes > most ? lanes : most;
  }
  float maximum = kForbiddenScore;
  for (std::size_t lane = 0; lane < kLanes; ++lane) maximum = std::max(maximum, most[lane]);
  return maximum;
}

LLM_TP_INLINE ExpSum sum_of_exp(std::span<const float> scores, float scale) {
  const float maximum = largest(scores);
  if (maximum == kForbiddenScore) return {kForbiddenScore, 0, 0};
  Floats sums{}, weighted{}, x, e;
  for (std::size_t begin = 0; begin < scores.size(); begin += kLanes) {
    load(x, scores, begin);
    x = (x - maximum) * scale;
    exp_below_zero<Floats, Bits, Ints>(x, e);
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

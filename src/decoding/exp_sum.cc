#include "decoding/exp_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace llm_tp {
namespace {

constexpr std::size_t kLanes = 8;
constexpr float kSmallest = -87.0f;  // exp of less is taken as 0: it could not change a sum that holds 1

/// exp(x) for x <= 0: 2^n * 2^f with f in [-1/2, 1/2] by a polynomial (the Taylor series of e^(f ln 2)).
/// Plain multiplies and adds, so that a vectorised loop gives the same bits.
inline float exp_of(float x) {
  const float clamped = x < kSmallest ? kSmallest : x;
  const float scaled = clamped * 1.44269504088896341f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float whole = (scaled + kRound) - kRound;
  // Cody and Waite: ln 2 in two parts.
  const float rest = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * rest + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(whole) + 127) << 23;
  const float value = p * std::bit_cast<float>(exponent);
  return x < kSmallest ? 0.0f : value;
}

}  // namespace

ExpSum exp_sum(std::span<const float> scores, float scale) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  std::array<float, kLanes> largest, sums{}, weighted{};
  largest.fill(kNone);
  std::size_t i = 0;
  for (; i + kLanes <= scores.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      largest[lane] = scores[i + lane] > largest[lane] ? scores[i + lane] : largest[lane];
  float maximum = *std::max_element(largest.begin(), largest.end());
  for (; i < scores.size(); ++i) maximum = std::max(maximum, scores[i]);
  if (maximum == kNone) return {kNone, 0, 0};
  const auto add = [&](std::size_t at, std::size_t lane) {
    const float x = (scores[at] - maximum) * scale;
    const float e = exp_of(x);
    sums[lane] += e;
    weighted[lane] += e > 0.0f ? e * x : 0.0f;
  };
  for (i = 0; i + kLanes <= scores.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  for (; i < scores.size(); ++i) add(i, i % kLanes);
  ExpSum result{maximum, 0, 0};
  for (std::size_t lane = 0; lane < kLanes; ++lane)
    result.sum += sums[lane], result.weighted += weighted[lane];
  return result;
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

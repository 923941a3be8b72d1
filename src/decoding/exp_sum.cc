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

void NormaliserSum::see(const ExpSum& run) noexcept { maximum_ = std::max(maximum_, run.maximum); }

void NormaliserSum::add(const ExpSum& run) noexcept {
  if (std::isinf(run.maximum)) return;
  const double shift = (run.maximum - maximum_) * scale_, factor = std::exp(shift);
  sum_ += run.sum * factor;
  weighted_ += (run.weighted + run.sum * shift) * factor;
}

Normaliser NormaliserSum::result() const noexcept {
  if (sum_ <= 0) return {-std::numeric_limits<double>::infinity(), 0};
  const double log_sum = std::log(sum_);
  return {maximum_ * scale_ + log_sum, log_sum - weighted_ / sum_};
}

}  // namespace llm_tp

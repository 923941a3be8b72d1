#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "base/dtype.h"

namespace llm_tp {

/// KV caches of int8 and fp8 keep the vector of a head, a token's key or value, as one code a number and one
/// f32 scale: a number is its code times the scale. The scale makes the largest |x| of the vector the largest
/// code, 127 or 448; codes are x / scale to the nearest, ties to even. A vector with a number that is not
/// finite has the scale NaN and zeros as codes, so that what reads it becomes NaN too.
inline bool has_vector_scales(DType dtype) noexcept { return dtype == DType::kInt8 || dtype == DType::kE4M3; }

inline float vector_scale(std::span<const float> x, DType dtype) noexcept {
  std::uint32_t largest = 0;  // compared as bits: NaN is above infinity, and infinity above all numbers
  for (const float value : x) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  if (largest >= 0x7f800000u) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(largest) / (dtype == DType::kInt8 ? 127.0f : 448.0f);
}

/// x / scale; 0 where the scale is NaN, or 0: then every |x| is too small to matter.
inline float over_scale(float x, float scale) noexcept { return scale > 0.0f ? x / scale : 0.0f; }

inline std::int8_t int8_code(float x, float scale) noexcept {
  // A scale that is subnormal has lost bits, so the quotient may lie beyond.
  const float bounded = std::clamp(over_scale(x, scale), -127.0f, 127.0f);
  // 1.5 * 2^23 leaves no bits for a fraction: the adder rounds.
  const std::int32_t sum = std::bit_cast<std::int32_t>(bounded + 0x1.8p23f);
  return static_cast<std::int8_t>(sum - std::bit_cast<std::int32_t>(0x1.8p23f));
}

inline std::uint8_t e4m3_code(float x, float scale) noexcept { return f32_to_e4m3(over_scale(x, scale)); }

}  // namespace llm_tp

#pragma once
// Numbers as sums of bf16 numbers, which the tensor cores multiply exactly.
#include <cuda_fp16.h>

#include <cstring>

#include "kernels/cuda/ptx.cuh"

namespace llm_tp {

/// bf16 bits of x, to nearest even.
__device__ inline std::uint32_t bf16_bits(float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;  // NaN stays NaN
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
__device__ inline float bf16_value(std::uint32_t bits) {
  const std::uint32_t wide = bits << 16;
  float x;
  memcpy(&x, &wide, 4);
  return x;
}

/// x = parts[0] + parts[1] + ...: 8 bits each, exact with three parts but for the last bits of the smallest
/// numbers.
template <int kParts>
__device__ inline void split_bf16(float x, std::uint32_t (&parts)[kParts]) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    parts[p] = bf16_bits(x);
    // Of infinity nothing remains; infinity - infinity would be NaN.
    x = fabsf(x) <= 3.4028234e38f ? x - bf16_value(parts[p]) : 0.0f;
  }
}

/// Two neighbours, each in parts: pairs[p] holds part p of `low` in its low half.
template <int kParts>
__device__ inline void split_pair(float low, float high, std::uint32_t (&pairs)[kParts]) {
  std::uint32_t of_low[kParts], of_high[kParts];
  split_bf16(low, of_low);
  split_bf16(high, of_high);
#pragma unroll
  for (int p = 0; p < kParts; ++p) pairs[p] = of_low[p] | of_high[p] << 16;
}

__device__ inline float half_value(std::uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

}  // namespace llm_tp

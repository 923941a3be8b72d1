#pragma once
// Numbers as sums of bf16 numbers, which the tensor cores multiply exactly.
#include <cuda_fp16.h>

#include <cstring>

#include "kernels/cuda/ptx.cuh"

namespace llm_tp {

__device__ inline float bf16_value(std::uint32_t bits) {
  const std::uint32_t wide = bits << 16;
  float x;
  memcpy(&x, &wide, 4);
  return x;
}

__device__ inline float half_value(std::uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

/// What bf16 left of x. Of infinity nothing remains; infinity - infinity would be NaN.
__device__ inline float bf16_rest(float x, std::uint32_t bits) {
  return fabsf(x) <= 3.4028234e38f ? x - bf16_value(bits) : 0.0f;
}

/// Two neighbours, each as a sum x = parts[0] + parts[1] + ... of 8 bits each, exact with three parts but for
/// the last bits of the smallest numbers. pairs[p] holds part p of `low` in its low half.
template <int kParts>
__device__ inline void split_pair(float low, float high, std::uint32_t (&pairs)[kParts]) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    pairs[p] = bf16_pair(low, high);
    low = bf16_rest(low, pairs[p]);
    high = bf16_rest(high, pairs[p] >> 16);
  }
}
/// The same for two parts of numbers that are not infinite.
__device__ inline void split_finite(float low, float high, std::uint32_t (&pairs)[2]) {
  pairs[0] = bf16_pair(low, high);
  pairs[1] = bf16_pair(low - bf16_value(pairs[0]), high - bf16_value(pairs[0] >> 16));
}
/// Two parts of 11 bits, as f16.
__device__ inline void split_f16(float low, float high, std::uint32_t (&pairs)[2]) {
  const auto pair_of = [](float first, float second) {
    return std::uint32_t{__half_as_ushort(__float2half_rn(first))} |
           std::uint32_t{__half_as_ushort(__float2half_rn(second))} << 16;
  };
  pairs[0] = pair_of(low, high);
  pairs[1] = pair_of(low - half_value(pairs[0] & 0xffffu), high - half_value(pairs[0] >> 16));
}

/// e4m3, whose bits are those of an f16 whose exponent has a bias of 15 instead of 7. No NaN.
__device__ inline float e4m3_value(std::uint32_t bits) {
  return half_value((bits & 0x80u) << 8 | (bits & 0x7fu) << 7) * 256.0f;
}

/// Two e4m3 numbers, bits 8 to 15 and 24 to 31 of a word, as bf16: their bits are those of a bf16 whose
/// exponent has a bias of 127 instead of 7, those of subnormal numbers too. No NaN.
__device__ inline std::uint32_t e4m3_pair(std::uint32_t word) {
  const std::uint32_t small = (word & 0x80008000u) | (word >> 4 & 0x07f007f0u);
  return fma_bf16(small, 0x7b807b80u, 0x80008000u);  // times 2^120, less 0
}

/// a - b of two pairs of bf16.
__device__ inline std::uint32_t subtract_bf16(std::uint32_t a, std::uint32_t b) {
  return fma_bf16(b, 0xbf80bf80u, a);  // times -1
}

/// Byte i of a word as a number: the last bits of 2^23 + byte.
__device__ inline float byte_value(std::uint32_t word, int i) {
  const std::uint32_t bits = (word >> i * 8 & 255u) | 0x4b000000u;
  float x;
  memcpy(&x, &bits, 4);
  return x - 8388608.0f;
}

}  // namespace llm_tp

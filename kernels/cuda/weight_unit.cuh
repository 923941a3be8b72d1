#pragma once
// What a lane of a warp loads of a weight at once, and its product with tokens: one struct a weight dtype.
#include "base/dtype.h"
#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/linear.h"

namespace llm_tp {

/// One step of 16 columns: kWeightParts x B::kParts products, largest first, without those below the last bit
/// of f32. operand(step, n, part): of token tile n.
template <int kWeightParts, int kTiles, class B>
__device__ inline void multiply_step(float (&sums)[kTiles][4], const std::uint32_t (&a)[kWeightParts][4],
                                     const B& operand, int step) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int part = 0; part < B::kParts; ++part) {
      const uint2 pair = operand(step, n, part);
      const std::uint32_t b[2] = {pair.x, pair.y};
#pragma unroll
      for (int w = 0; w < kWeightParts; ++w)
        if (w + part < kOperandParts) mma_bf16(sums[n], a[w], b);
    }
  }
}

/// A unit of a weight: kTilesOfUnit steps. to_bf16() gives its numbers, rounded, as operand a has them.
/// multiply() adds its products to sums: operand(step, n, part), of B::kParts parts, and block_sum(n, j), the
/// sum of the unit's inputs of token l % 4 * 2 + j of tile n.
template <DType kType>
struct WeightUnit;

template <>
struct WeightUnit<DType::kBF16> {
  static constexpr int kTilesOfUnit = 1, kBytes = 512;
  uint4 v;
  __device__ void load(const unsigned char* unit, int lane) {
    v = load_once(reinterpret_cast<const uint4*>(unit) + lane);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    const std::uint32_t a[1][4] = {{v.x, v.y, v.z, v.w}};
    multiply_step(sums, a, operand, 0);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[1][4]) const {
    pairs[0][0] = v.x;
    pairs[0][1] = v.y;
    pairs[0][2] = v.z;
    pairs[0][3] = v.w;
  }
};

template <>
struct WeightUnit<DType::kF16> {
  static constexpr int kTilesOfUnit = 1, kBytes = 512;
  uint4 v;
  __device__ void load(const unsigned char* unit, int lane) {
    v = load_once(reinterpret_cast<const uint4*>(unit) + lane);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    const std::uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t parts[2];  // 11 bits: two parts are exact
      split_pair(half_value(pairs[i]), half_value(pairs[i] >> 16), parts);
      a[0][i] = parts[0];
      a[1][i] = parts[1];
    }
    multiply_step(sums, a, operand, 0);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[1][4]) const {
    const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[0][i] = bf16_pair(half_value(words[i]), half_value(words[i] >> 16));
  }
};

template <>
struct WeightUnit<DType::kF32> {
  static constexpr int kTilesOfUnit = 1, kBytes = 1024;
  uint4 v[2];
  __device__ void load(const unsigned char* unit, int lane) {
    for (int i = 0; i < 2; ++i) v[i] = load_once(reinterpret_cast<const uint4*>(unit) + i * 32 + lane);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    std::uint32_t a[3][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = pair_of(i);
      std::uint32_t parts[3];
      split_pair(pair.x, pair.y, parts);
#pragma unroll
      for (int p = 0; p < 3; ++p) a[p][i] = parts[p];
    }
    multiply_step(sums, a, operand, 0);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[1][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[0][i] = bf16_pair(pair_of(i).x, pair_of(i).y);
  }

 private:
  __device__ float2 pair_of(int i) const {
    const uint2 bits = i % 2 == 0 ? uint2{v[i / 2].x, v[i / 2].y} : uint2{v[i / 2].z, v[i / 2].w};
    float2 pair;
    memcpy(&pair, &bits, 8);
    return pair;
  }
};

/// Block formats: the numbers of a block are small integers, exact in bf16; scale and minimum follow once a
/// block.
template <class Unit, int kTiles, class B>
__device__ inline void multiply_block(float (&sums)[kTiles][4], const float (&scale)[2], const Unit& unit,
                                      const B& operand) {
  float block[kTiles][4] = {};
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    std::uint32_t a[1][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[0][i] = bf16_pair(unit.number(step, 2 * i), unit.number(step, 2 * i + 1));
    multiply_step(block, a, operand, step);
  }
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] = fmaf(scale[i / 2], block[n][i], sums[n][i]);
}

/// The same numbers, scaled and shifted, rounded to bf16.
template <class Unit>
__device__ inline void block_to_bf16(std::uint32_t (&pairs)[2][4], const float (&scale)[2],
                                     const float (&minimum)[2], const Unit& unit) {
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = i % 2;
      pairs[step][i] = bf16_pair(scale[row] * unit.number(step, 2 * i) + minimum[row],
                                 scale[row] * unit.number(step, 2 * i + 1) + minimum[row]);
    }
}

/// The f16 numbers of the lane's two rows out of 16; halves is a multiple of 32 bytes.
__device__ inline void load_row_pair(float (&pair)[2], const unsigned char* halves, int lane) {
  const auto* const numbers = reinterpret_cast<const unsigned short*>(halves);
  for (int i = 0; i < 2; ++i) pair[i] = half_value(numbers[lane / 4 + 8 * i]);
}

template <>
struct WeightUnit<DType::kQ8_0> {
  static constexpr int kTilesOfUnit = 2, kBytes = 544;
  uint4 v;
  float scale[2];
  __device__ void load(const unsigned char* unit, int lane) {
    v = load_once(reinterpret_cast<const uint4*>(unit) + lane);
    load_row_pair(scale, unit + 512, lane);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    multiply_block(sums, scale, *this, operand);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[2][4]) const {
    block_to_bf16(pairs, scale, {0.0f, 0.0f}, *this);
  }
  __device__ float number(int step, int i) const {
    const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
    return static_cast<float>(static_cast<signed char>(words[2 * step + i / 4] >> i % 4 * 8));
  }
};

/// Four-bit numbers: byte i of a lane holds number i of the first step and of the second.
struct NibbleUnit {
  static constexpr int kTilesOfUnit = 2;
  uint2 v;
  float scale[2];
  __device__ void load_numbers(const unsigned char* unit, int lane) {
    v = load_once(reinterpret_cast<const uint2*>(unit) + lane);
    load_row_pair(scale, unit + 256, lane);
  }
  __device__ int nibble(int step, int i) const {
    const std::uint32_t word = i < 4 ? v.x : v.y;
    return static_cast<int>(word >> (i % 4 * 8 + step * 4) & 15u);
  }
};

template <>
struct WeightUnit<DType::kQ4_0> : NibbleUnit {
  static constexpr int kBytes = 288;
  __device__ void load(const unsigned char* unit, int lane) { load_numbers(unit, lane); }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    multiply_block(sums, scale, *this, operand);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[2][4]) const {
    block_to_bf16(pairs, scale, {0.0f, 0.0f}, *this);
  }
  __device__ float number(int step, int i) const { return static_cast<float>(nibble(step, i) - 8); }
};

template <>
struct WeightUnit<DType::kQ4_1> : NibbleUnit {
  static constexpr int kBytes = 320;
  float minimum[2];
  __device__ void load(const unsigned char* unit, int lane) {
    load_numbers(unit, lane);
    load_row_pair(minimum, unit + 288, lane);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S& block_sum) const {
    multiply_block(sums, scale, *this, operand);
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] = fmaf(minimum[i / 2], block_sum(n, i % 2), sums[n][i]);
  }
  __device__ void to_bf16(std::uint32_t (&pairs)[2][4]) const { block_to_bf16(pairs, scale, minimum, *this); }
  __device__ float number(int step, int i) const { return static_cast<float>(nibble(step, i)); }
};

}  // namespace llm_tp

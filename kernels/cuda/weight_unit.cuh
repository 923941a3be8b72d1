#pragma once
// What a lane of a warp loads of a weight at once, and its product with tokens: one struct a weight dtype.
#include <type_traits>

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/block_layout.h"
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

/// A unit of a weight as a lane holds it: kTilesOfUnit steps of 8 numbers, in the order of operand a. load():
/// unit u of the tile row that begins at `row`. value(step, i): number i. multiply() adds the unit's products
/// to sums: operand(step, n, part), of B::kParts parts, and block_sum(n, j), the sum of the unit's inputs of
/// token l % 4 * 2 + j of tile n. This is the one of block formats, whose codes are small integers, exact in
/// bf16, or e4m3: scale and minimum follow once a block of 32 or 16 columns.
template <DType kType>
struct WeightUnit {
  static constexpr BlockLayout kLayout = block_layout(kType);
  static constexpr int kTilesOfUnit = 2, kCodeBytes = kLayout.code_bytes(),
                       kGroupBytes = kLayout.group_bytes();

  __device__ void load(const DeviceWeight& weight, const unsigned char* row, int u, int lane) {
    const unsigned char* const codes = row + std::int64_t{u} * kCodeBytes;
    if constexpr (kLayout.code_bits == 8) {
      codes_ = load_once(reinterpret_cast<const uint4*>(codes) + lane);
    } else {
      const uint2 low = load_once(reinterpret_cast<const uint2*>(codes) + lane);
      codes_.x = low.x;
      codes_.y = low.y;
    }
    if constexpr (kLayout.code_bits == 5)
      codes_.z = reinterpret_cast<const unsigned short*>(codes + 256)[lane];
    if constexpr (kLayout.code_bits == 6)
      codes_.z = reinterpret_cast<const std::uint32_t*>(codes + 256)[lane];
    constexpr int kGroupUnits = kLayout.group_columns / 32;
    const int group = kLayout.run == 0 ? u >> weight.group_shift : u / kGroupUnits;
    const unsigned char* const factors =
        row + std::int64_t{weight.units} * kCodeBytes + std::int64_t{group} * kGroupBytes;
    for (int i = 0; i < 2; ++i) load_factors(factors, u % kGroupUnits, lane / 4 + 8 * i, i);
  }
  __device__ float value(int step, int i) const {
    const float scaled = scale_[step * kScales / 2][i / 2 % 2] * number(step, i);
    return kLayout.has_dmin ? scaled + minimum_[i / 2 % 2] : scaled;
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S& block_sum) const {
    constexpr int kSteps = kTilesOfUnit / kScales;  // of a block
#pragma unroll
    for (int block = 0; block < kScales; ++block) {
      float products[kTiles][4] = {};
#pragma unroll
      for (int step = block * kSteps; step < (block + 1) * kSteps; ++step) {
        std::uint32_t a[1][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) a[0][i] = bf16_pair(number(step, 2 * i), number(step, 2 * i + 1));
        multiply_step(products, a, operand, step);
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = fmaf(scale_[block][i / 2], products[n][i], sums[n][i]);
    }
    if constexpr (kLayout.has_dmin) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = fmaf(minimum_[i / 2], block_sum(n, i % 2), sums[n][i]);
    }
  }

 private:
  static constexpr int kScales = kLayout.run == 16 ? 2 : 1;  // of a unit
  static constexpr int kDminAt = kLayout.d_bytes(), kZerosAt = kLayout.zeros_at(),
                       kRunsAt = kLayout.runs_at(), kRunBytes = kLayout.run_bytes();

  /// Of row r of the tile, the lane's number i; u: which unit of the group.
  __device__ void load_factors(const unsigned char* group, int u, int r, int i) {
    float d = kLayout.float_d ? reinterpret_cast<const float*>(group)[r] : half_at(group, r);
    float dmin = kLayout.has_dmin ? half_at(group + kDminAt, r) : 0.0f;
    zero_[i] = kLayout.has_zeros ? reinterpret_cast<const short*>(group + kZerosAt)[r] : kLayout.zero;
#pragma unroll
    for (int block = 0; block < kScales; ++block) {
      float scale = d;
      if constexpr (kLayout.run != 0) {
        const unsigned char* const run = group + kRunsAt + (u * kScales + block) * kRunBytes;
        scale = d * static_cast<float>(static_cast<signed char>(run[r]));
        if constexpr (kLayout.has_dmin) dmin = dmin * static_cast<float>(run[16 + r]);
      }
      scale_[block][i] = scale;
    }
    minimum_[i] = -dmin;
  }
  __device__ static float half_at(const unsigned char* halves, int r) {
    return half_value(reinterpret_cast<const unsigned short*>(halves)[r]);
  }
  __device__ float number(int step, int i) const {
    const std::uint32_t words[4] = {codes_.x, codes_.y, codes_.z, codes_.w};
    if constexpr (kLayout.code_bits == 8) {
      const std::uint32_t byte = words[2 * step + i / 4] >> i % 4 * 8;
      if constexpr (kLayout.fp8) return e4m3_value(byte & 255u);
      return static_cast<float>(static_cast<signed char>(byte) - zero_[i / 2 % 2]);
    } else {
      std::uint32_t code = words[i / 4] >> (i % 4 * 8 + step * 4) & 15u;
      if constexpr (kLayout.code_bits == 5) code |= (codes_.z >> (step * 8 + i) & 1u) << 4;
      if constexpr (kLayout.code_bits == 6) code |= (codes_.z >> 2 * (step * 8 + i) & 3u) << 4;
      return static_cast<float>(static_cast<int>(code) - zero_[i / 2 % 2]);
    }
  }

  uint4 codes_{};
  float scale_[kScales][2], minimum_[2];
  int zero_[2];
};

template <>
struct WeightUnit<DType::kBF16> {
  static constexpr int kTilesOfUnit = 1;
  uint4 v;
  __device__ void load(const DeviceWeight&, const unsigned char* row, int u, int lane) {
    v = load_once(reinterpret_cast<const uint4*>(row + std::int64_t{u} * 512) + lane);
  }
  __device__ float value(int, int i) const {
    const std::uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
    return bf16_value(pairs[i / 2] >> i % 2 * 16 & 0xffffu);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    const std::uint32_t a[1][4] = {{v.x, v.y, v.z, v.w}};
    multiply_step(sums, a, operand, 0);
  }
};

template <>
struct WeightUnit<DType::kF16> {
  static constexpr int kTilesOfUnit = 1;
  uint4 v;
  __device__ void load(const DeviceWeight&, const unsigned char* row, int u, int lane) {
    v = load_once(reinterpret_cast<const uint4*>(row + std::int64_t{u} * 512) + lane);
  }
  __device__ float value(int, int i) const {
    const std::uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
    return half_value(pairs[i / 2] >> i % 2 * 16);
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t parts[2];  // 11 bits: two parts are exact
      split_pair(value(0, 2 * i), value(0, 2 * i + 1), parts);
      a[0][i] = parts[0];
      a[1][i] = parts[1];
    }
    multiply_step(sums, a, operand, 0);
  }
};

template <>
struct WeightUnit<DType::kF32> {
  static constexpr int kTilesOfUnit = 1;
  uint4 v[2];
  __device__ void load(const DeviceWeight&, const unsigned char* row, int u, int lane) {
    for (int i = 0; i < 2; ++i)
      v[i] = load_once(reinterpret_cast<const uint4*>(row + std::int64_t{u} * 1024) + i * 32 + lane);
  }
  __device__ float value(int, int i) const {
    const std::uint32_t words[4] = {v[i / 4].x, v[i / 4].y, v[i / 4].z, v[i / 4].w};
    float x;
    memcpy(&x, &words[i % 4], 4);
    return x;
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S&) const {
    std::uint32_t a[3][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t parts[3];
      split_pair(value(0, 2 * i), value(0, 2 * i + 1), parts);
#pragma unroll
      for (int p = 0; p < 3; ++p) a[p][i] = parts[p];
    }
    multiply_step(sums, a, operand, 0);
  }
};

/// Calls body.template operator()<kType>() for the type of a weight on the device.
template <class Body>
void for_weight_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF32:
      return body.template operator()<DType::kF32>();
    case DType::kF16:
      return body.template operator()<DType::kF16>();
    case DType::kBF16:
      return body.template operator()<DType::kBF16>();
    case DType::kQ8_0:
      return body.template operator()<DType::kQ8_0>();
    case DType::kQ4_0:
      return body.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return body.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return body.template operator()<DType::kQ5_0>();
    case DType::kQ4K:
      return body.template operator()<DType::kQ4K>();
    case DType::kQ5K:
      return body.template operator()<DType::kQ5K>();
    case DType::kQ6K:
      return body.template operator()<DType::kQ6K>();
    case DType::kInt4G32:
      return body.template operator()<DType::kInt4G32>();
    case DType::kInt8G32:
      return body.template operator()<DType::kInt8G32>();
    case DType::kFp8G32:
      return body.template operator()<DType::kFp8G32>();
    default:
      throw_bug("dtype", __FILE__, __LINE__, "a packed weight of an unknown dtype");
  }
}

}  // namespace llm_tp

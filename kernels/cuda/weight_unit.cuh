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

/// A unit of a weight as a lane holds it: kTilesOfUnit steps of 8 numbers, in the order of operand a. A warp
/// of one token's product asks for kRunUnits at once. load(): unit u of the tile row that begins at `row`;
/// nothing waits for what it loads before value() or multiply(). value(step, i): number i. multiply() adds
/// the unit's products to sums: operand(step, n, part), of B::kParts parts, and block_sum(n, j), the sum of
/// the unit's inputs of token l % 4 * 2 + j of tile n. This is the one of block formats, whose codes are
/// small integers, exact in bf16, or e4m3: scale and minimum follow once a block of 32 or 16 columns.
template <DType kType>
struct WeightUnit {
  static constexpr BlockLayout kLayout = block_layout(kType);
  static constexpr int kTilesOfUnit = 2,
                       kRunUnits = kLayout.code_bits == 4 && kLayout.group_bytes() == 32 ? 8 : 4;

  __device__ void load(const DeviceWeight& weight, const unsigned char* row, int u, int lane) {
    const unsigned place = static_cast<unsigned>(u) * kCodeBytes;
    if constexpr (kLayout.code_bits == 8) {
      codes_ = load_once(reinterpret_cast<const uint4*>(row + lane * 16 + place));
    } else {
      const uint2 low = load_once(reinterpret_cast<const uint2*>(row + lane * 8 + place));
      codes_.x = low.x;
      codes_.y = low.y;
    }
    if constexpr (kLayout.code_bits == 5)
      codes_.z = *reinterpret_cast<const unsigned short*>(row + 256 + lane * 2 + place);
    if constexpr (kLayout.code_bits == 6)
      codes_.z = *reinterpret_cast<const std::uint32_t*>(row + 256 + lane * 4 + place);
    constexpr int kGroupUnits = kLayout.group_columns / 32;
    const unsigned group = kLayout.run == 0 ? u >> weight.group_shift : u / kGroupUnits;
    const unsigned char* const factors = row + std::int64_t{weight.units} * kCodeBytes;
    const int r = lane / 4;
    const unsigned char* const d = factors + r * kPairBytes + group * kGroupBytes;
    if constexpr (kPairBytes == 8)
      d_ = *reinterpret_cast<const uint2*>(d);
    else
      d_.x = *reinterpret_cast<const std::uint32_t*>(d);
    const unsigned char* const words = factors + r * 4 + group * kGroupBytes;
    if constexpr (kLayout.has_zeros) zeros_ = *reinterpret_cast<const std::uint32_t*>(words + kZerosAt);
    if constexpr (kLayout.run != 0)
      runs_ = *reinterpret_cast<const std::uint32_t*>(words + kRunsAt + u % kGroupUnits * 32);
  }
  __device__ float value(int step, int i) const {
    const int upper = i / 2 % 2;
    const float scaled =
        scale(step * kScales / 2, upper) * bf16_value(pair(step, i / 2) >> i % 2 * 16 & 0xffffu);
    return kLayout.has_dmin ? scaled + minimum(upper) : scaled;
  }
  template <int kTiles, class B, class S>
  __device__ void multiply(float (&sums)[kTiles][4], const B& operand, const S& block_sum) const {
    constexpr int kSteps = kTilesOfUnit / kScales;  // of a block
#pragma unroll
    for (int block = 0; block < kScales; ++block) {
      float products[kTiles][4] = {};
#pragma unroll
      for (int step = block * kSteps; step < (block + 1) * kSteps; ++step) {
        const std::uint32_t a[1][4] = {{pair(step, 0), pair(step, 1), pair(step, 2), pair(step, 3)}};
        multiply_step(products, a, operand, step);
      }
#pragma unroll
      for (int upper = 0; upper < 2; ++upper)
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
#pragma unroll
          for (int i = 2 * upper; i < 2 * upper + 2; ++i)
            sums[n][i] = fmaf(scale(block, upper), products[n][i], sums[n][i]);
    }
    if constexpr (kLayout.has_dmin) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][i] = fmaf(minimum(i / 2), block_sum(n, i % 2), sums[n][i]);
    }
  }

 private:
  static constexpr int kScales = kLayout.run == 16 ? 2 : 1;  // of a unit
  static constexpr int kCodeBytes = kLayout.code_bytes(), kGroupBytes = kLayout.group_bytes(),
                       kPairBytes = kLayout.d_bytes(), kZerosAt = kLayout.zeros_at(),
                       kRunsAt = kLayout.runs_at();

  /// Of the lane's lower or upper row; block: of the unit's.
  __device__ float scale(int block, int upper) const {
    if constexpr (kLayout.float_d) {
      float d;
      memcpy(&d, upper != 0 ? &d_.y : &d_.x, 4);
      return d;
    } else {
      const float d = half_value(d_.x >> upper * 16);
      return kLayout.run == 0 ? d : d * (byte_value(runs_, block * 2 + upper) - 128.0f);
    }
  }
  __device__ float minimum(int upper) const {
    const float dmin = half_value(d_.y >> upper * 16);
    return -(kLayout.run == 0 ? dmin : dmin * byte_value(runs_, 2 + upper));
  }
  /// Numbers 2 i and 2 i + 1 of a step before they are scaled: of row i % 2, as mma has them.
  __device__ std::uint32_t pair(int step, int i) const {
    constexpr std::uint32_t k128 = 0x43004300u;  // twice 128, whose last bit is 1
    const std::uint32_t words[4] = {codes_.x, codes_.y, codes_.z, codes_.w};
    if constexpr (kLayout.fp8) {
      return e4m3_pair(words[2 * step + i / 2] << (i % 2 == 0 ? 8 : 0));
    } else if constexpr (kLayout.code_bits == 8) {
      // The sign bit is worth -128.
      const std::uint32_t codes = words[2 * step + i / 2] >> i % 2 * 8;
      const std::uint32_t signed_codes =
          subtract_bf16(and_or(codes, 0x007f007fu, k128), and_or(codes, 0x00800080u, k128));
      return kLayout.has_zeros ? subtract_bf16(signed_codes, zero_pair(i % 2)) : signed_codes;
    } else {
      std::uint32_t codes = and_or(words[step] >> 4 * i, 0x000f000fu, k128);
      const int p = step * 4 + i;
      if constexpr (kLayout.code_bits == 5)
        codes |= shifted((codes_.z & 0xffu) | (codes_.z & 0xff00u) << 8, 4 - p) & 0x00100010u;
      if constexpr (kLayout.code_bits == 6) codes |= shifted(codes_.z, 4 - 2 * p) & 0x00300030u;
      return subtract_bf16(codes, zero_pair(i % 2));
    }
  }
  __device__ static std::uint32_t shifted(std::uint32_t word, int left) {
    return left > 0 ? word << left : word >> -left;
  }
  /// What is subtracted from both numbers of a pair.
  __device__ std::uint32_t zero_pair(int upper) const {
    if constexpr (!kLayout.has_zeros) return 0x43004300u + kLayout.zero * 0x00010001u;
    const std::uint32_t zero = upper != 0 ? zeros_ >> 16 : zeros_ & 0xffffu;
    return zero | zero << 16;
  }

  // As they lie in memory: to widen them here would wait for them.
  uint4 codes_{};
  uint2 d_{};
  std::uint32_t zeros_ = 0, runs_ = 0;
};

template <>
struct WeightUnit<DType::kBF16> {
  static constexpr int kTilesOfUnit = 1, kRunUnits = 4;
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
  static constexpr int kTilesOfUnit = 1, kRunUnits = 4;
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
  static constexpr int kTilesOfUnit = 1, kRunUnits = 4;
  uint4 v[2];
  __device__ void load(const DeviceWeight&, const unsigned char* row, int u, int lane) {
    for (int i = 0; i < 2; ++i)
      v[i] = load_once(
          reinterpret_cast<const uint4*>(row + i * 512 + lane * 16 + static_cast<unsigned>(u) * 1024));
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

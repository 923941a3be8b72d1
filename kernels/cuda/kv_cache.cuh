#pragma once
#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/kv_cache.h"

namespace llm_tp {

__host__ __device__ inline bool has_scales(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kE4M3;
}
__host__ __device__ inline int number_bytes(DType dtype) {
  return dtype == DType::kF32 ? 4 : has_scales(dtype) ? 1 : 2;
}

/// The key or value of a head at a token of a page.
struct CacheVector {
  DType dtype;
  unsigned char* numbers;  // [head_dim]
  float* scale;            // where dtype has them

  /// own_scale: what was put into *scale.
  __device__ void set(int d, float x, float own_scale) const {
    const float over_scale = own_scale > 0.0f ? x / own_scale : 0.0f;
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(numbers)[d] = x;
    } else if (dtype == DType::kInt8) {
      reinterpret_cast<signed char*>(numbers)[d] =
          static_cast<signed char>(rintf(fminf(fmaxf(over_scale, -127.0f), 127.0f)));
    } else if (dtype == DType::kE4M3) {
      numbers[d] = e4m3_bits(over_scale);
    } else if (dtype == DType::kBF16) {
      reinterpret_cast<unsigned short*>(numbers)[d] = static_cast<unsigned short>(bf16_pair(x, 0.0f));
    } else {
      reinterpret_cast<unsigned short*>(numbers)[d] = __half_as_ushort(__float2half_rn(x));
    }
  }

 private:
  /// To nearest, ties to even, 448 at most; not NaN.
  __device__ static unsigned char e4m3_bits(float x) {
    const float size = fminf(fabsf(x), 448.0f);
    const float shifted = size + 16384.0f;  // below the normal numbers the adder rounds at 2^-9
    std::uint32_t sign, bits, subnormal;
    memcpy(&sign, &x, 4);
    memcpy(&bits, &size, 4);
    memcpy(&subnormal, &shifted, 4);
    const std::uint32_t code = size < 0.015625f ? subnormal - 0x46800000u
                                                : (bits + 0x7ffffu + (bits >> 20 & 1u) - 0x3c000000u) >> 20;
    return static_cast<unsigned char>((sign >> 24 & 0x80u) | code);
  }
};

/// values: 0 for keys, 1 for values.
__device__ inline CacheVector cache_vector(const DeviceCache& cache, std::int64_t page, int layer, int values,
                                           int head, int token) {
  const std::int64_t of_page = page * cache.layers + layer;
  unsigned char* const run = cache.data + ((of_page * 2 + values) * cache.heads + head) * cache.head_bytes;
  const std::int64_t vector_bytes = std::int64_t{cache.head_dim} * number_bytes(cache.dtype);
  return {cache.dtype, run + token * vector_bytes,
          reinterpret_cast<float*>(run + cache.page_tokens * vector_bytes) + token};
}

}  // namespace llm_tp

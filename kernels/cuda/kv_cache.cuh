#pragma once
#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/kv_cache.h"

namespace llm_tp {

/// Number of element 0 of a head's vector at a token of a page; values: 0 for keys, 1 for values.
__device__ inline std::int64_t cache_index(const DeviceCache& cache, std::int64_t page, int layer, int values,
                                           int head, int token) {
  const std::int64_t of_page = page * cache.layers + layer;
  return (((of_page * 2 + values) * cache.heads + head) * cache.page_tokens + token) * cache.head_dim;
}

__device__ inline float cache_value(const DeviceCache& cache, std::int64_t index) {
  if (cache.dtype == DType::kF32) return reinterpret_cast<const float*>(cache.data)[index];
  const std::uint32_t bits = reinterpret_cast<const unsigned short*>(cache.data)[index];
  return cache.dtype == DType::kBF16 ? bf16_value(bits) : half_value(bits);
}

__device__ inline void set_cache_value(const DeviceCache& cache, std::int64_t index, float value) {
  if (cache.dtype == DType::kF32) {
    reinterpret_cast<float*>(cache.data)[index] = value;
  } else if (cache.dtype == DType::kBF16) {
    reinterpret_cast<unsigned short*>(cache.data)[index] = static_cast<unsigned short>(bf16_bits(value));
  } else {
    reinterpret_cast<unsigned short*>(cache.data)[index] = __half_as_ushort(__float2half_rn(value));
  }
}

}  // namespace llm_tp

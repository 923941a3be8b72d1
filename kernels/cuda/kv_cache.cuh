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

  __device__ float number(int d) const {
    if (dtype == DType::kF32) return reinterpret_cast<const float*>(numbers)[d];
    if (dtype == DType::kInt8)
      return *scale * static_cast<float>(reinterpret_cast<const signed char*>(numbers)[d]);
    if (dtype == DType::kE4M3) return *scale * e4m3_value(numbers[d]);
    const std::uint32_t bits = reinterpret_cast<const unsigned short*>(numbers)[d];
    return dtype == DType::kBF16 ? bf16_value(bits) : half_value(bits);
  }
  /// Whether numbers d to d + 7 are 8 or 16 bytes that one load may fetch; d a multiple of 8.
  __device__ bool has_word(int d, int dim) const {
    const int bytes = 8 * number_bytes(dtype);
    return bytes <= 16 && d + 8 <= dim &&
           reinterpret_cast<std::uintptr_t>(numbers + d * (bytes / 8)) % bytes == 0;
  }
  /// Those bytes, which from_word() widens when they have come. No kernel reads pages that it writes.
  __device__ uint4 word(int d) const {
    const unsigned char* const at = numbers + d * number_bytes(dtype);
    if (!has_scales(dtype)) return load_once(reinterpret_cast<const uint4*>(at));
    const uint2 codes = load_once(reinterpret_cast<const uint2*>(at));
    return {codes.x, codes.y, 0, 0};
  }
  /// own_scale: of vectors of codes.
  static __device__ void from_word(DType dtype, uint4 word, float own_scale, float (&out)[8]) {
    const std::uint32_t words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (has_scales(dtype)) {
        const std::uint32_t code = words[i / 4] >> i % 4 * 8 & 0xffu;
        out[i] = own_scale * (dtype == DType::kInt8 ? static_cast<float>(static_cast<signed char>(code))
                                                    : e4m3_value(code));
      } else {
        const std::uint32_t bits = words[i / 2] >> i % 2 * 16 & 0xffffu;
        out[i] = dtype == DType::kBF16 ? bf16_value(bits) : half_value(bits);
      }
    }
  }
  /// Numbers d to d + 7, d a multiple of 8; zeros from dim on. The same as number() one by one, by loads of
  /// up to 16 bytes where vectors lie at multiples of them.
  __device__ void eight_numbers(int d, int dim, float (&out)[8]) const {
    if (has_word(d, dim)) return from_word(dtype, word(d), has_scales(dtype) ? *scale : 0.0f, out);
    const float* const at = reinterpret_cast<const float*>(numbers) + d;
    if (dtype == DType::kF32 && d + 8 <= dim && reinterpret_cast<std::uintptr_t>(at) % 16 == 0) {
      const float4 low = reinterpret_cast<const float4*>(at)[0],
                   high = reinterpret_cast<const float4*>(at)[1];
      memcpy(out, &low, 16);
      memcpy(out + 4, &high, 16);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) out[i] = d + i < dim ? number(d + i) : 0.0f;
    }
  }
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

#include "kernels/cpu/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/row_runs.h"
#include "kernels/vector_codes.h"

namespace llm_tp {
namespace {

std::int64_t scale_bytes_of(const KvShape& shape) {
  return has_vector_scales(shape.dtype) ? row_bytes(DType::kF32, shape.page_tokens) : 0;
}
std::int64_t key_bytes_of(const KvShape& shape) {
  return row_bytes(shape.dtype, std::int64_t{shape.page_tokens} * shape.head_dim) + scale_bytes_of(shape);
}
std::int64_t value_bytes_of(const KvShape& shape) {
  return row_bytes(shape.dtype, shape.page_tokens * CpuKvCache::padded_head_dim(shape)) +
         scale_bytes_of(shape);
}
std::int64_t layer_bytes_of(const KvShape& shape) {
  return shape.kv_heads * (key_bytes_of(shape) + value_bytes_of(shape));
}

// How a number of a vector is stored; `scale` is that of the vector where the type has one.
struct F32 {
  static constexpr bool kHasScales = false;
  using Bits = float;
  static Bits code(float x, float) { return x; }
};
struct F16 {
  static constexpr bool kHasScales = false;
  using Bits = std::uint16_t;
  static Bits code(float x, float) { return f32_to_f16(x); }
};
struct BF16 {
  static constexpr bool kHasScales = false;
  using Bits = std::uint16_t;
  static Bits code(float x, float) { return f32_to_bf16(x); }
};
struct Int8 {
  static constexpr bool kHasScales = true;
  static constexpr DType kDType = DType::kInt8;
  static constexpr float kScaleFactor = 1.0f;
  using Bits = std::int8_t;
  static Bits code(float x, float scale) { return int8_code(x, scale); }
};
struct Fp8 {
  static constexpr bool kHasScales = true;
  static constexpr DType kDType = DType::kE4M3;
  static constexpr float kScaleFactor = 256.0f;
  using Bits = std::uint8_t;
  static Bits code(float x, float scale) { return e4m3_code(x, scale); }
};

/// Writes a vector to every `stride`-th place of to[0 ...), and its scale.
template <class Stored>
void write_vector(std::span<const float> x, typename Stored::Bits* to, std::int64_t stride, float* scale_to) {
  float scale = 1.0f;
  if constexpr (Stored::kHasScales) {
    scale = vector_scale(x, Stored::kDType);
    *scale_to = scale * Stored::kScaleFactor;
  }
  for (const float value : x) {
    *to = Stored::code(value, scale);
    to += stride;
  }
}

template <class Stored>
void write_head(const CpuKvCache& cache, int layer, int kv_head, TensorView k, TensorView v,
                const Batch& batch) {
  constexpr std::int64_t kGroup = CpuKvCache::kGroupTokens;
  const KvShape& shape = cache.shape();
  const std::int64_t head_dim = shape.head_dim, padded = CpuKvCache::padded_head_dim(shape);
  const auto vector = [&](TensorView of, std::int64_t row) {
    return std::span<const float>(of.row(row) + kv_head * head_dim, static_cast<std::size_t>(head_dim));
  };
  for (const BatchSlice& slice : batch.slices) {
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::int32_t position = slice.first_position + i;
      const PageId page = slice.page_of(position, shape.page_tokens);
      const std::int64_t token = position % shape.page_tokens;
      auto* keys = reinterpret_cast<typename Stored::Bits*>(cache.keys(layer, page, kv_head));
      auto* values = reinterpret_cast<typename Stored::Bits*>(cache.values(layer, page, kv_head));
      auto* key_scales = reinterpret_cast<float*>(keys + shape.page_tokens * head_dim);
      auto* value_scales = reinterpret_cast<float*>(values + shape.page_tokens * padded);
      write_vector<Stored>(vector(k, slice.first_row + i),
                           keys + token / kGroup * kGroup * head_dim + token % kGroup, kGroup,
                           key_scales + token);
      write_vector<Stored>(vector(v, slice.first_row + i), values + token * padded, 1, value_scales + token);
    }
  }
}

using HeadWriter = decltype(&write_head<F32>);
HeadWriter writer_for(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return write_head<F32>;
    case DType::kF16:
      return write_head<F16>;
    case DType::kBF16:
      return write_head<BF16>;
    case DType::kInt8:
      return write_head<Int8>;
    case DType::kE4M3:
      return write_head<Fp8>;
    default:
      throw Error(ExitCode::kBug, "KV cache: dtype is " + std::string(name_of(dtype)) +
                                      ", wanted f32, f16, bf16, int8 or fp8");
  }
}

}  // namespace

CpuKvCache::CpuKvCache(const KvShape& shape)
    : KvCache(shape),
      key_bytes_(key_bytes_of(shape)),
      value_bytes_(value_bytes_of(shape)),
      layer_bytes_(layer_bytes_of(shape)),
      buffer_(allocate_host(static_cast<std::size_t>(bytes_of(shape)))) {}

std::int64_t CpuKvCache::bytes_of(const KvShape& shape) {
  LLM_TP_CHECK(shape.layers >= 0 && shape.kv_heads >= 0 && shape.head_dim > 0 && shape.pages >= 0,
               "KV cache: a negative dimension or no head_dim");
  LLM_TP_CHECK(shape.page_tokens > 0 && shape.page_tokens % kGroupTokens == 0,
               "KV cache: page_tokens is " + std::to_string(shape.page_tokens) + ", wanted a multiple of 16");
  static_cast<void>(writer_for(shape.dtype));
  return std::int64_t{shape.pages} * shape.layers * layer_bytes_of(shape);
}

void check_pages(const KvShape& shape, const BatchSlice& slice, std::int64_t first, const char* op) {
  const std::int64_t end = std::int64_t{slice.first_position} + slice.rows;
  const std::int64_t wanted = (end + shape.page_tokens - 1) / shape.page_tokens;
  const std::int64_t behind = slice.pages_before + std::ssize(slice.pages);
  LLM_TP_CHECK(slice.rows >= 0 && first >= 0 && slice.pages_before >= 0 &&
                   slice.pages_before * std::int64_t{shape.page_tokens} <= first && behind >= wanted,
               std::string(op) + ": pages " + std::to_string(slice.pages_before) + " to " +
                   std::to_string(behind) + " for positions " + std::to_string(first) + " to " +
                   std::to_string(end) + ", wanted up to " + std::to_string(wanted));
  for (const PageId page : slice.pages)
    LLM_TP_CHECK(0 <= page && page < shape.pages, std::string(op) + ": page " + std::to_string(page) +
                                                      " of a cache of " + std::to_string(shape.pages));
}

void write_kv(ThreadPool& pool, CpuKvCache& cache, int layer, TensorView k, TensorView v,
              const Batch& batch) {
  const KvShape& shape = cache.shape();
  const std::int64_t width = std::int64_t{shape.kv_heads} * shape.head_dim;
  LLM_TP_CHECK(0 <= layer && layer < shape.layers, "write_kv: no layer " + std::to_string(layer));
  if (width == 0 || batch.rows() == 0) return;
  LLM_TP_CHECK(k.rows() == batch.rows() && v.rows() == batch.rows(), "write_kv: one row of k and v a token");
  LLM_TP_CHECK(k.columns() == width && v.columns() == width,
               "write_kv: k or v is not [T, kv_heads * head_dim]");
  for (const BatchSlice& slice : batch.slices) check_pages(shape, slice, slice.first_position, "write_kv");
  const HeadWriter write = writer_for(shape.dtype);
  run_rows(pool, shape.kv_heads, batch.rows() * shape.head_dim, [&](std::int64_t begin, std::int64_t end) {
    for (int head = static_cast<int>(begin); head < end; ++head) write(cache, layer, head, k, v, batch);
  });
}

void copy_pages(CpuKvCache& cache, std::span<const PageId> from, std::span<const PageId> to) {
  LLM_TP_CHECK(from.size() == to.size(), "copy_pages: the lists differ in length");
  const int pages = cache.shape().pages;
  const auto bytes = static_cast<std::size_t>(cache.page_bytes());
  for (std::size_t i = 0; i < from.size(); ++i) {
    LLM_TP_CHECK(0 <= from[i] && from[i] < pages && 0 <= to[i] && to[i] < pages, "copy_pages: no such page");
    LLM_TP_CHECK(from[i] != to[i], "copy_pages: a page onto itself");
    std::memcpy(cache.bytes().data() + static_cast<std::size_t>(to[i]) * bytes,
                cache.bytes().data() + static_cast<std::size_t>(from[i]) * bytes, bytes);
  }
}

}  // namespace llm_tp

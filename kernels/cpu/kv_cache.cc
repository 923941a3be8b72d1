#include "kernels/cpu/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/row_runs.h"

namespace llm_tp {
namespace {

std::int64_t key_bytes_of(const KvShape& shape) {
  return row_bytes(shape.dtype, std::int64_t{shape.page_tokens} * shape.head_dim);
}
std::int64_t value_bytes_of(const KvShape& shape) {
  return row_bytes(shape.dtype, shape.page_tokens * CpuKvCache::padded_head_dim(shape));
}
std::int64_t layer_bytes_of(const KvShape& shape) {
  return shape.kv_heads * (key_bytes_of(shape) + value_bytes_of(shape));
}

float stored_as(float value, const float*) { return value; }
struct F16 {
  std::uint16_t bits;
};
struct BF16 {
  std::uint16_t bits;
};
F16 stored_as(float value, const F16*) { return {f32_to_f16(value)}; }
BF16 stored_as(float value, const BF16*) { return {f32_to_bf16(value)}; }

template <class Stored>
void write_head(const CpuKvCache& cache, int layer, int kv_head, TensorView k, TensorView v,
                const Batch& batch) {
  const KvShape& shape = cache.shape();
  const std::int64_t head_dim = shape.head_dim, padded = CpuKvCache::padded_head_dim(shape);
  constexpr const Stored* kKind = nullptr;
  for (const BatchSlice& slice : batch.slices) {
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::int32_t position = slice.first_position + i;
      const PageId page = slice.pages[static_cast<std::size_t>(position / shape.page_tokens)];
      const std::int32_t token = position % shape.page_tokens;
      const float* k_row = k.row(slice.first_row + i) + kv_head * head_dim;
      const float* v_row = v.row(slice.first_row + i) + kv_head * head_dim;
      auto* keys = reinterpret_cast<Stored*>(cache.keys(layer, page, kv_head));
      keys += token / CpuKvCache::kGroupTokens * CpuKvCache::kGroupTokens * head_dim +
              token % CpuKvCache::kGroupTokens;
      auto* values = reinterpret_cast<Stored*>(cache.values(layer, page, kv_head)) + token * padded;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        keys[d * CpuKvCache::kGroupTokens] = stored_as(k_row[d], kKind);
        values[d] = stored_as(v_row[d], kKind);
      }
    }
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
  LLM_TP_CHECK(shape.dtype == DType::kF32 || shape.dtype == DType::kF16 || shape.dtype == DType::kBF16,
               "KV cache: dtype is " + std::string(name_of(shape.dtype)) + ", wanted f32, f16 or bf16");
  return std::int64_t{shape.pages} * shape.layers * layer_bytes_of(shape);
}

void check_pages(const KvShape& shape, const BatchSlice& slice, const char* op) {
  const std::int64_t end = std::int64_t{slice.first_position} + slice.rows;
  const std::int64_t wanted = (end + shape.page_tokens - 1) / shape.page_tokens;
  LLM_TP_CHECK(slice.rows >= 0 && slice.first_position >= 0 && std::ssize(slice.pages) >= wanted,
               std::string(op) + ": " + std::to_string(slice.pages.size()) + " pages for positions up to " +
                   std::to_string(end) + ", wanted " + std::to_string(wanted));
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
  for (const BatchSlice& slice : batch.slices) check_pages(shape, slice, "write_kv");
  run_rows(pool, shape.kv_heads, batch.rows() * shape.head_dim, [&](std::int64_t begin, std::int64_t end) {
    for (int head = static_cast<int>(begin); head < end; ++head) {
      if (shape.dtype == DType::kF32) write_head<float>(cache, layer, head, k, v, batch);
      if (shape.dtype == DType::kF16) write_head<F16>(cache, layer, head, k, v, batch);
      if (shape.dtype == DType::kBF16) write_head<BF16>(cache, layer, head, k, v, batch);
    }
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

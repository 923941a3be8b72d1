#include "kernels/cuda/cuda_kv_cache.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/vector_codes.h"

namespace llm_tp {
namespace {

/// Of the keys or values of a head of a page.
std::int64_t head_bytes_of(const KvShape& s) {
  const std::int64_t scales = has_vector_scales(s.dtype) ? row_bytes(DType::kF32, s.page_tokens) : 0;
  return row_bytes(s.dtype, std::int64_t{s.page_tokens} * s.head_dim) + scales;
}

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

}  // namespace

std::int64_t CudaKvCache::bytes_of(const KvShape& s) {
  return std::int64_t{s.pages} * s.layers * 2 * s.kv_heads * head_bytes_of(s);
}

CudaKvCache::CudaKvCache(const KvShape& shape, DeviceBuffer memory, cudaStream_t stream, UploadPipe& pipe)
    : KvCache(shape),
      memory_(std::move(memory)),
      slots_(stream, pipe),
      pages_(stream, pipe),
      items_(stream, pipe),
      merges_(stream, pipe) {
  device_ = geometry_of(shape);
  device_.data = reinterpret_cast<unsigned char*>(memory_.data());
}

DeviceCache CudaKvCache::geometry_of(const KvShape& shape) {
  return {
      nullptr,        shape.dtype,       shape.layers,         shape.kv_heads,
      shape.head_dim, shape.page_tokens, head_bytes_of(shape), bytes_of(shape) / std::max(shape.pages, 1)};
}

void CudaKvCache::check(PageId page) const {
  LLM_TP_CHECK(page >= 0 && page < shape().pages,
               "page " + std::to_string(page) + " of " + std::to_string(shape().pages) + " does not exist");
}

CudaKvCache::TableSizes CudaKvCache::TableSizes::of(const KvShape& shape, const StepLimits& limits,
                                                    const AttentionPlanOptions& options) {
  // A slice has pages up to its last position, and may have one more.
  const std::int64_t pages = limits.positions / shape.page_tokens + 2;
  TableSizes sizes;
  sizes.slots = size(limits.rows) * sizeof(std::int32_t);
  sizes.pages = size(limits.slices * pages) * sizeof(PageId);
  sizes.items = size(most_items(limits.rows, limits.slices, options)) * sizeof(AttentionItem);
  sizes.merges = size(limits.slices) * sizeof(AttentionMerge);
  return sizes;
}

std::int64_t CudaKvCache::TableSizes::taken() const noexcept {
  std::size_t bytes = 0;
  for (const std::size_t table : {slots, pages, items, merges}) bytes += StreamMemory::taken_for(table);
  return static_cast<std::int64_t>(bytes);
}

void CudaKvCache::reserve(const TableSizes& sizes) {
  slots_.reserve(sizes.slots);
  pages_.reserve(sizes.pages);
  items_.reserve(sizes.items);
  merges_.reserve(sizes.merges);
}

const std::int32_t* CudaKvCache::slots(const Batch& batch) const {
  std::vector<std::int32_t> slots(size(batch.rows()));
  for (const BatchSlice& slice : batch.slices)
    for (std::int32_t i = 0; i < slice.rows; ++i) {
      const std::int32_t position = slice.first_position + i;
      const std::int32_t page = position / shape().page_tokens - slice.pages_before;
      LLM_TP_CHECK(page >= 0 && page < std::ssize(slice.pages), "a position of a slice has no page");
      const PageId id = slice.pages[size(page)];
      check(id);
      slots[size(slice.first_row + i)] = id * shape().page_tokens + position % shape().page_tokens;
    }
  return slots_.hold(std::span<const std::int32_t>(slots));
}

CudaKvCache::Attention CudaKvCache::attention(const Batch& batch, const AttentionPlanOptions& options) const {
  std::vector<PageId> pages;
  for (const BatchSlice& slice : batch.slices) {
    const std::int64_t positions = std::int64_t{slice.first_position} + slice.rows;
    LLM_TP_CHECK(positions <= (slice.pages_before + std::ssize(slice.pages)) * shape().page_tokens,
                 "a slice has fewer pages than positions");
    for (const PageId page : slice.pages) {
      check(page);
      pages.push_back(page);
    }
  }
  Attention found;
  found.plan = plan_attention(batch, options);
  found.pages = pages_.hold(std::span<const PageId>(pages));
  found.items = items_.hold(std::span<const AttentionItem>(found.plan.items));
  found.merges = merges_.hold(std::span<const AttentionMerge>(found.plan.merges));
  return found;
}

}  // namespace llm_tp

#pragma once
#include <span>

#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

/// The CPU's KV pages. One page is one run of memory, all layers together, so that copying a page is one
/// copy:
///   [page][layer] { K [kv_head][group of 16 tokens][head_dim][16 tokens], V [kv_head][token][padded
///   head_dim] }
/// With 16 keys in the lanes, scores are sums over head_dim in index order and need no horizontal sums. V
/// rows are padded to whole 16 elements; what lies in the padding is never part of a result. With int8 and
/// fp8, K and V of a head and page are codes and behind them f32 scales [page_tokens]; those of fp8 are 256
/// times what vector_codes.h says, as its codes are read as f16 of the same bits, 1 / 256 of the number. Read
/// by many threads, written by one call.
class CpuKvCache : public KvCache {
 public:
  static constexpr int kGroupTokens = 16;

  /// Errors: kBug for a shape that no plan makes, kOutOfMemory.
  explicit CpuKvCache(const KvShape& shape);

  static std::int64_t bytes_of(const KvShape& shape);
  static std::int64_t padded_head_dim(const KvShape& shape) { return (shape.head_dim + 15) / 16 * 16; }

  /// K of one head of one page: [group][head_dim][16 tokens], and scales.
  std::byte* keys(int layer, PageId page, int kv_head) const {
    return at(layer, page) + kv_head * key_bytes_;
  }
  /// V of one head of one page: [token][padded head_dim], and scales.
  std::byte* values(int layer, PageId page, int kv_head) const {
    return at(layer, page) + shape().kv_heads * key_bytes_ + kv_head * value_bytes_;
  }
  /// All of it, for tests that fill it with what must not be read.
  std::span<std::byte> bytes() const { return {buffer_.data(), buffer_.bytes()}; }
  std::int64_t page_bytes() const noexcept { return shape().layers * layer_bytes_; }

 private:
  std::byte* at(int layer, PageId page) const {
    return buffer_.data() + page * page_bytes() + layer * layer_bytes_;
  }

  std::int64_t key_bytes_, value_bytes_;  // of one head of one page of one layer
  std::int64_t layer_bytes_;              // of one page of one layer
  DeviceBuffer buffer_;
};

/// DeviceBackend::write_kv; the work is shared out by KV head.
void write_kv(ThreadPool& pool, CpuKvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch);
/// DeviceBackend::copy_pages.
void copy_pages(CpuKvCache& cache, std::span<const PageId> from, std::span<const PageId> to);
/// Checks that the pages of a slice exist and hold positions `first` to its last one. Errors: kBug.
void check_pages(const KvShape& shape, const BatchSlice& slice, std::int64_t first, const char* op);

}  // namespace llm_tp

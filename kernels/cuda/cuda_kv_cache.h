#pragma once
#include "kernels/cuda/attention.h"
#include "kernels/cuda/upload_pipe.h"
#include "kernels/device.h"

namespace llm_tp {

/// A KV cache in device memory, and beside it the tables by which kernels find a step's rows in it. The
/// tables of a step are sent once, whichever layers ask for them, and stay where they are from step to step.
class CudaKvCache final : public KvCache {
 public:
  CudaKvCache(const KvShape& shape, DeviceBuffer memory, cudaStream_t stream, UploadPipe& pipe);
  const DeviceCache& device() const noexcept { return device_; }
  /// Errors: kBug where the cache has no such page.
  void check(PageId page) const;

  /// Bytes of the tables of the largest steps.
  struct TableSizes {
    std::size_t slots = 0, pages = 0, items = 0, merges = 0;
    static TableSizes of(const KvShape& shape, const StepLimits& limits, const AttentionPlanOptions& options);
    /// That reserve() takes.
    std::int64_t taken() const noexcept;
  };
  void reserve(const TableSizes& sizes);

  /// [rows] in device memory: page * page_tokens + token in the page, of every row of the batch.
  const std::int32_t* slots(const Batch& batch) const;
  /// The plan of attention over the batch, with its tables in device memory.
  struct Attention {
    AttentionPlan plan;
    const std::int32_t* pages = nullptr;  // of all slices, one after the other
    const AttentionItem* items = nullptr;
    const AttentionMerge* merges = nullptr;
  };
  Attention attention(const Batch& batch, const AttentionPlanOptions& options) const;

  static std::int64_t bytes_of(const KvShape& shape);
  /// What device() says of such a cache, without its memory.
  static DeviceCache geometry_of(const KvShape& shape);

 private:
  DeviceBuffer memory_;
  DeviceCache device_;
  // What lies in them belongs to the step, not to the cache.
  mutable StepTable slots_, pages_, items_, merges_;
};

}  // namespace llm_tp

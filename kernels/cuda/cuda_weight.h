#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/packed_weight.h"
#include "kernels/cuda/upload_pipe.h"

namespace llm_tp {

/// A packed weight and its tables in device memory.
class CudaPackedWeight final : public PackedWeight {
 public:
  /// Reads, packs and sends a buffer of tile rows at a time, on all threads of the pool.
  CudaPackedWeight(const WeightSpec& spec, const RowReader& read, ThreadPool& pool, UploadPipe& pipe,
                   const std::function<DeviceBuffer(std::size_t)>& allocate);
  const DeviceWeight& device() const noexcept { return device_; }
  /// Of roots()[root], where every leaf is filled up to whole steps of 16 columns.
  Range padded_columns_of_root(std::size_t root) const { return padded_columns_[root]; }

  static std::int64_t bytes_of(const WeightSpec& spec);
  /// What device() says of such a weight, without its memory.
  static DeviceWeight geometry_of(const WeightSpec& spec);

 private:
  DeviceBuffer tiles_, tables_;
  DeviceWeight device_;
  std::vector<Range> padded_columns_;  // of each root
};

}  // namespace llm_tp

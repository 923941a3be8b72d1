#pragma once
#include <memory>

#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/packed_layout.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

/// Weights in panels of 16 output rows, each one contiguous stream of blocks over K (packed_layout.h); row r
/// of a panel is lane r of every vector, so that an output is summed over K in index order without horizontal
/// sums. N is padded with zero rows.
class CpuPackedWeight final : public PackedWeight {
 public:
  /// Zeroed.
  CpuPackedWeight(const WeightSpec& spec, HostArena& memory);
  std::int64_t panels() const noexcept { return (spec().rows + cpu::kPanelRows - 1) / cpu::kPanelRows; }
  std::int64_t panel_bytes() const noexcept { return panel_bytes_; }
  std::byte* panel(std::int64_t i) noexcept { return memory_.data() + i * panel_bytes_; }
  const std::byte* panel(std::int64_t i) const noexcept { return memory_.data() + i * panel_bytes_; }

 private:
  std::int64_t panel_bytes_;
  DeviceBuffer memory_;
};

std::int64_t packed_bytes(const WeightSpec& spec);
/// Reads and packs on all threads, a panel at a time.
std::unique_ptr<CpuPackedWeight> pack_weight(ThreadPool& pool, HostArena& memory, const WeightSpec& spec,
                                             const RowReader& read);
/// One row widened to f32. out [columns].
void unpack_row(const CpuPackedWeight& weight, std::int64_t row, float* out);

}  // namespace llm_tp

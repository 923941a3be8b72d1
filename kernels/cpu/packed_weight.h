#pragma once
#include <memory>

#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

/// Weights in panels of 16 output rows, each one contiguous stream over K; row r of a panel is lane r of
/// every vector, so that an output is summed over K in index order without horizontal sums. N is padded with
/// zero rows.
///   f32              per k: 16 f32
///   f16, bf16        per k: 16 x 2 bytes
///   q8_0             per 32 k: 16 f16 scales, then 8 vectors of 16 rows x 4 k, int8
///   q4_0             per 32 k: 16 f16 scales, then 4 vectors of 16 rows x 4 bytes; byte b of vector j: low
///   nibble k = 4j + b, high
///                    nibble k = 16 + 4j + b
///   q4_1             as q4_0, with 16 f16 minima after the scales
inline constexpr std::int64_t kPanelRows = 16;

class CpuPackedWeight final : public PackedWeight {
 public:
  /// Zeroed.
  explicit CpuPackedWeight(const WeightSpec& spec);
  std::int64_t panels() const noexcept { return (spec().rows + kPanelRows - 1) / kPanelRows; }
  std::int64_t panel_bytes() const noexcept { return panel_bytes_; }
  std::byte* panel(std::int64_t i) noexcept { return memory_.data() + i * panel_bytes_; }
  const std::byte* panel(std::int64_t i) const noexcept { return memory_.data() + i * panel_bytes_; }

 private:
  std::int64_t panel_bytes_;
  DeviceBuffer memory_;
};

/// Bytes of a panel over k columns.
std::int64_t panel_bytes(DType dtype, std::int64_t k) noexcept;
std::int64_t packed_bytes(const WeightSpec& spec);
/// Reads and packs on all threads, a panel at a time.
std::unique_ptr<CpuPackedWeight> pack_weight(ThreadPool& pool, const WeightSpec& spec, const RowReader& read);
/// One row widened to f32: w, d * q, d * (q - 8) or d * q + m. out [columns].
void unpack_row(const CpuPackedWeight& weight, std::int64_t row, float* out);

}  // namespace llm_tp

#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/host_memory.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kReadAhead = 4096;  // bytes that the kernels' prefetches reach beyond the last panel

std::int64_t block_stride(DType dtype) noexcept { return panel_bytes(dtype, 32); }
std::int64_t header_bytes(DType dtype) noexcept { return dtype == DType::kQ4_1 ? 64 : 32; }

/// One row in file layout into its lane.
void pack_lane(DType dtype, const std::byte* row, std::int64_t columns, std::int64_t lane, std::byte* panel) {
  if (!is_quantised(dtype)) {
    const std::int64_t size = block_bytes(dtype);
    for (std::int64_t k = 0; k < columns; ++k)
      std::memcpy(panel + (k * kPanelRows + lane) * size, row + k * size, static_cast<std::size_t>(size));
    return;
  }
  for (std::int64_t b = 0; b < columns / 32; ++b) {
    const std::byte* in = row + b * block_bytes(dtype);
    std::byte* out = panel + b * block_stride(dtype);
    std::memcpy(out + 2 * lane, in, 2);
    in += 2;
    if (dtype == DType::kQ4_1) {
      std::memcpy(out + 32 + 2 * lane, in, 2);
      in += 2;
    }
    out += header_bytes(dtype) + 4 * lane;
    const int vectors = dtype == DType::kQ8_0 ? 8 : 4;
    for (int j = 0; j < vectors; ++j)
      std::memcpy(out + 64 * j, in + 4 * j, 4);  // ggml's nibbles lie as the panel's: k and k + 16
  }
}

}  // namespace

std::int64_t panel_bytes(DType dtype, std::int64_t k) noexcept {
  if (!is_quantised(dtype)) return kPanelRows * block_bytes(dtype) * k;
  return k / 32 * (header_bytes(dtype) + (dtype == DType::kQ8_0 ? 512 : 256));
}

std::int64_t packed_bytes(const WeightSpec& spec) {
  return (spec.rows + kPanelRows - 1) / kPanelRows * panel_bytes(spec.dtype, spec.columns()) + kReadAhead;
}

CpuPackedWeight::CpuPackedWeight(const WeightSpec& spec)
    : PackedWeight(spec),
      panel_bytes_(llm_tp::panel_bytes(spec.dtype, spec.columns())),
      memory_(allocate_host(static_cast<std::size_t>(packed_bytes(spec)))) {}

std::unique_ptr<CpuPackedWeight> pack_weight(ThreadPool& pool, const WeightSpec& spec,
                                             const RowReader& read) {
  LLM_TP_CHECK(spec.columns() % block_elements(spec.dtype) == 0,
               "columns of a quantised weight are no whole blocks");
  auto weight = std::make_unique<CpuPackedWeight>(spec);
  const std::int64_t stored = row_bytes(spec.dtype, spec.columns());
  pool.run(static_cast<int>(weight->panels()), [&](int panel, int) {
    const Range rows{panel * kPanelRows, std::min(spec.rows, (panel + 1) * kPanelRows)};
    thread_local std::vector<std::byte> raw;
    raw.resize(static_cast<std::size_t>(stored * rows.size()));
    read(rows, raw.data());
    for (std::int64_t r = 0; r < rows.size(); ++r)
      pack_lane(spec.dtype, raw.data() + r * stored, spec.columns(), r, weight->panel(panel));
  });
  return weight;
}

void unpack_row(const CpuPackedWeight& weight, std::int64_t row, float* out) {
  const DType dtype = weight.spec().dtype;
  const std::int64_t lane = row % kPanelRows, columns = weight.spec().columns();
  const std::byte* panel = weight.panel(row / kPanelRows);
  const auto half = [&](const std::byte* at) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, at, 2);
    return dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  };
  if (dtype == DType::kF32) {
    for (std::int64_t k = 0; k < columns; ++k) std::memcpy(out + k, panel + (k * kPanelRows + lane) * 4, 4);
  } else if (!is_quantised(dtype)) {
    for (std::int64_t k = 0; k < columns; ++k) out[k] = half(panel + (k * kPanelRows + lane) * 2);
  } else {
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::byte* block = panel + k / 32 * block_stride(dtype);
      const std::byte* quants = block + header_bytes(dtype) + 4 * lane;
      const float d = half(block + 2 * lane);
      const std::int64_t i = k % 32;
      if (dtype == DType::kQ8_0) {
        out[k] = d * static_cast<float>(static_cast<std::int8_t>(quants[64 * (i / 4) + i % 4]));
      } else {
        const auto byte = static_cast<unsigned>(quants[64 * (i % 16 / 4) + i % 4]);
        const int q = static_cast<int>(i < 16 ? byte & 15u : byte >> 4);
        out[k] = dtype == DType::kQ4_0 ? d * static_cast<float>(q - 8)
                                       : d * static_cast<float>(q) + half(block + 32 + 2 * lane);
      }
    }
  }
}

}  // namespace llm_tp

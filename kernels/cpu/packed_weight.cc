#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/packed_kind.h"

namespace llm_tp {
namespace {

using cpu::kPanelRows;
constexpr std::int64_t kReadAhead = 4096;  // bytes that the kernels' prefetches reach beyond the last panel

std::int64_t panel_bytes_of(const WeightSpec& spec) { return cpu::packed_kind(spec.dtype).panel_bytes(spec); }

}  // namespace

std::int64_t packed_bytes(const WeightSpec& spec) {
  return (spec.rows + kPanelRows - 1) / kPanelRows * panel_bytes_of(spec) + kReadAhead;
}

CpuPackedWeight::CpuPackedWeight(const WeightSpec& spec, HostArena& memory)
    : PackedWeight(spec),
      panel_bytes_(panel_bytes_of(spec)),
      memory_(memory.allocate(static_cast<std::size_t>(packed_bytes(spec)))) {}

std::unique_ptr<CpuPackedWeight> pack_weight(ThreadPool& pool, HostArena& memory, const WeightSpec& spec,
                                             const RowReader& read) {
  const cpu::PackedKind& kind = cpu::packed_kind(spec.dtype);
  LLM_TP_CHECK(spec.columns() % kind.columns == 0, "columns of a quantised weight are no whole blocks");
  auto weight = std::make_unique<CpuPackedWeight>(spec, memory);
  const std::int64_t stored = row_bytes(spec.dtype, spec.columns());
  pool.run(static_cast<int>(weight->panels()), [&](int panel, int) {
    const Range rows{panel * std::int64_t{kPanelRows},
                     std::min(spec.rows, (panel + 1) * std::int64_t{kPanelRows})};
    thread_local std::vector<std::byte> raw;
    raw.resize(static_cast<std::size_t>(stored * rows.size()));
    read(rows, raw.data());
    for (std::int64_t r = 0; r < rows.size(); ++r)
      kind.pack(spec, raw.data() + r * stored, r, weight->panel(panel));
  });
  return weight;
}

void unpack_row(const CpuPackedWeight& weight, std::int64_t row, float* out) {
  cpu::packed_kind(weight.spec().dtype)
      .unpack(weight.spec(), weight.panel(row / kPanelRows), row % kPanelRows, out);
}

}  // namespace llm_tp

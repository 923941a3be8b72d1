#include "kernels/cpu/linear.h"

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/linear_kernels.h"
#include "kernels/cpu/packed_kind.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kActivationBytes =
    192 << 10;                            // rows of x that stay in level-2 cache while the weights pass once
constexpr std::int64_t kTileBorder = 48;  // a multiple of the rows of every kernel's tiles
constexpr std::int64_t kWeightBytes = 256 << 10;  // of a chunk when there are few rows

/// Rounded activations of one call, kept between calls to save the allocation.
struct RoundedStorage {
  std::vector<std::int8_t> q;
  std::vector<float> d, dsum;
  std::vector<std::int32_t> half, minus8q;
  cpu::RoundedRows reserve(std::int64_t rows, std::int64_t columns) {
    const auto n = static_cast<std::size_t>(rows * columns);
    if (q.size() < n)
      q.resize(n), d.resize(n / 32), dsum.resize(n / 32), half.resize(n / 32), minus8q.resize(n / 32);
    return {q.data(), d.data(), dsum.data(), half.data(), minus8q.data()};
  }
};

const cpu::LinearKernels& kernels_in_use() {
  return instruction_set() == InstructionSet::kAvx512Vnni ? cpu::kLinearAvx512Vnni : cpu::kLinearAvx2;
}

const cpu::WeightKernels& kernels_of(const cpu::LinearKernels& kernels, DType dtype) {
  for (int i = 0; i < kernels.weight_count; ++i)
    if (kernels.weights[i].dtype == dtype) return kernels.weights[i];
  throw_bug("kernels_of", __FILE__, __LINE__, "no kernels for weights of " + std::string(name_of(dtype)));
}

}  // namespace

void linear(ThreadPool& pool, TensorView out, TensorView x, const CpuPackedWeight& w, const float* bias,
            ActivationKind activations) {
  const WeightSpec& spec = w.spec();
  const std::int64_t rows = x.rows(), columns = spec.columns();
  const auto roots = static_cast<std::int64_t>(w.roots().size());
  LLM_TP_CHECK(x.columns() == columns, "linear: x is not [T,K]");
  const std::int64_t plane_rows = out.rank == 3 ? out.shape[1] : rows;
  LLM_TP_CHECK(out.columns() == spec.rows && out.rows() == roots * plane_rows && plane_rows >= rows,
               "linear: out is not [R,T,N]");
  LLM_TP_CHECK(bias == nullptr || roots == 1, "linear: a bias on partial sums");
  if (rows == 0 || spec.rows == 0 || roots == 0) return;

  // Borders of leaves in this rank's columns, root by root.
  std::vector<std::int64_t> begins;
  std::vector<cpu::RootPlan> plans;
  const std::int64_t first = spec.cut.begin(static_cast<int>(spec.leaves.begin));
  begins.reserve(static_cast<std::size_t>(spec.leaves.size() + roots));
  for (const TreeRoot& root : w.roots()) {
    const int leaves = 1 << root.level;
    plans.push_back({leaves, begins.data() + begins.size()});
    for (int i = 0; i <= leaves; ++i)
      begins.push_back(spec.cut.begin(static_cast<int>(root.begin) + i) - first);
  }

  cpu::LinearJob job{};
  job.panels = w.panel(0), job.panel_bytes = w.panel_bytes(), job.rows = spec.rows, job.columns = columns;
  job.roots = plans.data(), job.root_count = static_cast<int>(roots);
  job.x = x.row(0), job.x_stride = x.row_stride;
  job.out = out.row(0), job.out_stride = out.row_stride, job.root_stride = plane_rows * out.row_stride;
  job.bias = bias;
  const cpu::PackedKind& kind = cpu::packed_kind(spec.dtype);
  job.block_bytes = kind.block_bytes, job.block_mask = kind.columns - 1;
  job.block_shift = std::countr_zero(static_cast<std::uint64_t>(kind.columns));
  if (spec.column_groups)
    job.column_groups = spec.column_groups->of_column.data(),
    job.column_group_count = spec.column_groups->count;
  const cpu::LinearKernels& kernels = kernels_in_use();
  const cpu::WeightKernels& weights = kernels_of(kernels, spec.dtype);
  const bool int8 = weights.int8 != nullptr && activations == ActivationKind::kInt8;
  const cpu::PanelKernel run_panels = int8 ? weights.int8 : weights.exact;

  if (int8) {
    thread_local RoundedStorage storage;
    job.rounded = storage.reserve(rows, columns);
    pool.run(static_cast<int>((rows + kernels.int8_rows - 1) / kernels.int8_rows), [&](int chunk, int) {
      const std::int64_t t = std::int64_t{chunk} * kernels.int8_rows;
      kernels.round(job, t, std::min(rows, t + kernels.int8_rows));
    });
  }

  const std::int64_t row_bytes = int8 ? columns * 11 / 8 : columns * 4;
  const std::int64_t rows_at_once = std::max<std::int64_t>(
      kTileBorder, kActivationBytes / std::max<std::int64_t>(row_bytes, 1) / kTileBorder * kTileBorder);
  const std::int64_t panels = w.panels();
  const std::int64_t heavy = rows > 8 ? 4 : std::max<std::int64_t>(1, kWeightBytes / w.panel_bytes());
  const std::int64_t chunk_panels =
      std::clamp<std::int64_t>(heavy, 1, std::max<std::int64_t>(1, panels / (4 * pool.threads())));
  // Little work is done faster by one thread than handed to others.
  const bool alone = panels * w.panel_bytes() * rows < (32 << 10);
  const auto chunks = static_cast<int>(alone ? 1 : (panels + chunk_panels - 1) / chunk_panels);
  pool.run(chunks, [&](int chunk, int) {
    const std::int64_t begin = chunk * chunk_panels,
                       end = alone ? panels : std::min(panels, begin + chunk_panels);
    for (std::int64_t t = 0; t < rows; t += rows_at_once)
      run_panels(job, begin, end, t, std::min(rows, t + rows_at_once));
  });
}

}  // namespace llm_tp

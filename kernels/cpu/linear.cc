#include "kernels/cpu/linear.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/linear_kernels.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kActivationBytes =
    192 << 10;  // rows of x that stay in level-2 cache while the weights pass once
constexpr std::int64_t kWeightBytes = 256 << 10;  // of a chunk when there are few rows

/// Rounded activations of one call, kept between calls to save the allocation.
struct RoundedRows {
  std::vector<std::int8_t> q;
  std::vector<float> d, dsum;
  std::vector<std::int32_t> sum;
  void reserve(std::int64_t rows, std::int64_t columns) {
    const auto n = static_cast<std::size_t>(rows * columns);
    if (q.size() < n) q.resize(n), d.resize(n / 32), dsum.resize(n / 32), sum.resize(n / 32);
  }
};

}  // namespace

void linear(ThreadPool& pool, TensorView out, TensorView x, const CpuPackedWeight& w, const float* bias,
            ActivationKind activations) {
  const WeightSpec& spec = w.spec();
  const std::int64_t rows = x.rows(), columns = spec.columns();
  const auto roots = static_cast<std::int64_t>(w.roots().size());
  LLM_TP_CHECK(x.columns() == columns, "linear: x is not [T,K]");
  LLM_TP_CHECK(out.columns() == spec.rows && out.rows() == roots * rows, "linear: out is not [R,T,N]");
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
  job.dtype = spec.dtype;
  job.int8_activations = is_quantised(spec.dtype) && activations == ActivationKind::kInt8;
  job.panels = w.panel(0), job.panel_bytes = w.panel_bytes(), job.rows = spec.rows, job.columns = columns;
  job.roots = plans.data(), job.root_count = static_cast<int>(roots);
  job.x = x.row(0), job.x_stride = x.row_stride;
  job.out = out.row(0), job.out_stride = out.row_stride, job.root_stride = rows * out.row_stride;
  job.bias = bias;
  const cpu::LinearKernels& kernels = cpu::kLinearAvx2;

  thread_local RoundedRows rounded;
  if (job.int8_activations) {
    rounded.reserve(rows, columns);
    job.xq = rounded.q.data(), job.xd = rounded.d.data(), job.xsum = rounded.dsum.data(),
    job.xi = rounded.sum.data();
    RoundedRows& target = rounded;  // of this thread, also inside the chunks
    constexpr std::int64_t kRowsAtOnce = 16;
    pool.run(static_cast<int>((rows + kRowsAtOnce - 1) / kRowsAtOnce), [&](int chunk, int) {
      for (std::int64_t t = chunk * kRowsAtOnce; t < std::min(rows, (chunk + 1) * kRowsAtOnce); ++t)
        kernels.quantise(x.row(t), columns, target.q.data() + t * columns, target.d.data() + t * columns / 32,
                         target.dsum.data() + t * columns / 32, target.sum.data() + t * columns / 32);
    });
  }

  const std::int64_t row_size = job.int8_activations ? columns * 11 / 8 : columns * 4;
  const std::int64_t rows_at_once =
      std::max<std::int64_t>(24, kActivationBytes / std::max<std::int64_t>(row_size, 1) / 12 * 12);
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
      kernels.panels(job, begin, end, t, std::min(rows, t + rows_at_once));
  });
}

}  // namespace llm_tp

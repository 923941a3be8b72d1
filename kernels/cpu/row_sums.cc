#include "kernels/cpu/row_sums.h"

#include <algorithm>

#include "kernels/cpu/row_runs.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_sums.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

void add_weighted(float* out, const float* x, float weight, std::int64_t width) {
  const Lanes16 by = broadcast(weight);
  const std::int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::int64_t i = 0; i < whole; i += kLanes)
    store16(fused(by, load16(x + i), load16(out + i)), out + i);
  if (rest > 0)
    store_some(fused(by, load_some(x + whole, rest), load_some(out + whole, rest)), out + whole, rest);
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(add_weighted);

void clear(ThreadPool& pool, TensorView x) {
  run_rows(pool, x.rows(), x.columns(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) std::fill_n(x.row(r), x.columns(), 0.0f);
  });
}

void add_rows(ThreadPool& pool, TensorView out, TensorView x, std::span<const std::int32_t> rows,
              std::span<const float> weights) {
  LLM_TP_CHECK(x.rows() == std::ssize(rows) && weights.size() == rows.size() && x.columns() == out.columns(),
               "add_rows: one place and one weight for a row of x");
  for (const std::int32_t row : rows) LLM_TP_CHECK(0 <= row && row < out.rows(), "add_rows: no such row");
  constexpr std::int64_t kColumns = 256;
  const std::int64_t width = out.columns(), runs = (width + kColumns - 1) / kColumns;
  const auto kernel = HWY_DYNAMIC_DISPATCH(add_weighted);
  run_rows(pool, runs, kColumns * x.rows(), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kColumns, last = std::min(width, end * kColumns);
    for (std::size_t i = 0; i < rows.size(); ++i)
      kernel(out.row(rows[i]) + first, x.row(static_cast<std::int64_t>(i)) + first, weights[i], last - first);
  });
}

}  // namespace llm_tp
#endif

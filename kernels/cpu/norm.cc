#include "kernels/cpu/norm.h"

#include <cmath>

#include "kernels/cpu/row_runs.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

void rms_norm_row(float* out, const float* x, const float* weight, std::int64_t width, float eps) {
  const std::int64_t whole = width / kLanes * kLanes;
  Lanes16 squares = broadcast(0.0f);
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    const Lanes16 v = load16(x + i);
    squares = fused(v, v, squares);
  }
  if (whole < width) {
    const Lanes16 v = load_some(x + whole, width - whole);
    squares = fused(v, v, squares);
  }
  const float mean = fold_sum(squares) / static_cast<float>(width);
  const Lanes16 factor = broadcast(1.0f / std::sqrt(mean + eps));
  for (std::int64_t i = 0; i < whole; i += kLanes)
    store16(multiply(multiply(load16(x + i), factor), load16(weight + i)), out + i);
  if (whole < width) {
    const std::int64_t rest = width - whole;
    const Lanes16 scaled = multiply(load_some(x + whole, rest), factor);
    store_some(multiply(scaled, load_some(weight + whole, rest)), out + whole, rest);
  }
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(rms_norm_row);

void rms_norm(ThreadPool& pool, TensorView out, TensorView x, TensorView weight, float eps) {
  const std::int64_t rows = x.rows(), width = x.columns();
  LLM_TP_CHECK(out.rows() == rows && out.columns() == width, "rms_norm: out and x differ in shape");
  LLM_TP_CHECK(weight.columns() == width && weight.rows() == 1, "rms_norm: weight is not [H]");
  const auto kernel = HWY_DYNAMIC_DISPATCH(rms_norm_row);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) kernel(out.row(r), x.row(r), weight.row(0), width, eps);
  });
}

}  // namespace llm_tp
#endif

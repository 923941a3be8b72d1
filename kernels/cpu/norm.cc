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

float sum_of_squares(const float* x, std::int64_t width) {
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
  return fold_sum(squares);
}

/// out = x / sqrt(squares / of + eps) * weight
void scale_by_squares(float* out, const float* x, const float* weight, std::int64_t width, float squares,
                      std::int64_t of, float eps) {
  const std::int64_t whole = width / kLanes * kLanes;
  const Lanes16 factor = broadcast(1.0f / std::sqrt(squares / static_cast<float>(of) + eps));
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
HWY_EXPORT(sum_of_squares);
HWY_EXPORT(scale_by_squares);

void rms_norm(ThreadPool& pool, TensorView out, TensorView x, TensorView weight, float eps) {
  const std::int64_t rows = x.rows(), width = x.columns();
  LLM_TP_CHECK(out.rows() == rows && out.columns() == width, "rms_norm: out and x differ in shape");
  LLM_TP_CHECK(weight.columns() == width && weight.rows() == 1, "rms_norm: weight is not [H]");
  const auto sum = HWY_DYNAMIC_DISPATCH(sum_of_squares);
  const auto scale = HWY_DYNAMIC_DISPATCH(scale_by_squares);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      scale(out.row(r), x.row(r), weight.row(0), width, sum(x.row(r), width), width, eps);
  });
}

void norm_heads(ThreadPool& pool, TensorView x, TensorView weight, float eps) {
  const std::int64_t rows = x.rows(), width = x.columns(), head_dim = weight.columns();
  LLM_TP_CHECK(weight.rows() == 1 && head_dim > 0 && width % head_dim == 0,
               "norm_heads: x does not hold whole heads of the weight's width");
  const auto sum = HWY_DYNAMIC_DISPATCH(sum_of_squares);
  const auto scale = HWY_DYNAMIC_DISPATCH(scale_by_squares);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      for (float* head = x.row(r); head < x.row(r) + width; head += head_dim)
        scale(head, head, weight.row(0), head_dim, sum(head, head_dim), head_dim, eps);
  });
}

void head_squares(ThreadPool& pool, TensorView out, TensorView x) {
  const std::int64_t heads = out.rows(), width = x.columns();
  LLM_TP_CHECK(out.columns() == x.rows() && (heads == 0 ? width == 0 : width % heads == 0),
               "head_squares: out is not [heads, T]");
  if (heads == 0) return;
  const std::int64_t head_dim = width / heads;
  const auto sum = HWY_DYNAMIC_DISPATCH(sum_of_squares);
  run_rows(pool, x.rows(), width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      for (std::int64_t head = 0; head < heads; ++head)
        out.row(head)[t] = sum(x.row(t) + head * head_dim, head_dim);
  });
}

void norm_by_squares(ThreadPool& pool, TensorView x, TensorView squares, std::int64_t width,
                     TensorView weight, float eps) {
  LLM_TP_CHECK(squares.columns() == x.rows() && weight.columns() == x.columns(),
               "norm_by_squares: squares are not [heads, T] or weight is not [N]");
  const auto scale = HWY_DYNAMIC_DISPATCH(scale_by_squares);
  run_rows(pool, x.rows(), x.columns(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float sum = 0;
      for (std::int64_t head = 0; head < squares.rows(); ++head) sum += squares.row(head)[t];
      scale(x.row(t), x.row(t), weight.row(0), x.columns(), sum, width, eps);
    }
  });
}

}  // namespace llm_tp
#endif

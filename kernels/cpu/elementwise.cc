#include "kernels/cpu/elementwise.h"

#include "kernels/cpu/row_runs.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

HWY_INLINE Lanes16 silu_times(const Lanes16& gate, const Lanes16& up) {
  const Lanes16 power = exponential(multiply(gate, broadcast(-1.0f)));
  return multiply(divide(gate, add(broadcast(1.0f), power)), up);
}

void silu_mul_row(float* out, const float* gate, const float* up, std::int64_t width) {
  const std::int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::int64_t i = 0; i < whole; i += kLanes)
    store16(silu_times(load16(gate + i), load16(up + i)), out + i);
  if (rest > 0) {
    const Lanes16 value = silu_times(load_some(gate + whole, rest), load_some(up + whole, rest));
    store_some(value, out + whole, rest);
  }
}

// bias may be null: then x itself is added.
void add_row(float* h, const float* x, const float* bias, std::int64_t width) {
  const std::int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    Lanes16 value = load16(x + i);
    if (bias != nullptr) value = add(value, load16(bias + i));
    store16(add(load16(h + i), value), h + i);
  }
  if (rest > 0) {
    Lanes16 value = load_some(x + whole, rest);
    if (bias != nullptr) value = add(value, load_some(bias + whole, rest));
    store_some(add(load_some(h + whole, rest), value), h + whole, rest);
  }
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(silu_mul_row);
HWY_EXPORT(add_row);

void silu_mul(ThreadPool& pool, TensorView out, TensorView gate_up) {
  const std::int64_t rows = out.rows(), width = out.columns();
  LLM_TP_CHECK(gate_up.rows() == rows && gate_up.columns() == 2 * width, "silu_mul: gate_up is not [T, 2C]");
  if (width == 0) return;
  const auto kernel = HWY_DYNAMIC_DISPATCH(silu_mul_row);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      kernel(out.row(r), gate_up.row(r), gate_up.row(r) + width, width);
  });
}

void add(ThreadPool& pool, TensorView h, TensorView x, TensorView bias) {
  const std::int64_t rows = h.rows(), width = h.columns();
  LLM_TP_CHECK(x.rows() == rows && x.columns() == width, "add: h and x differ in shape");
  LLM_TP_CHECK(bias.empty() || (bias.rows() == 1 && bias.columns() == width), "add: bias is not [H]");
  if (width == 0) return;
  const float* bias_row = bias.empty() ? nullptr : bias.row(0);
  const auto kernel = HWY_DYNAMIC_DISPATCH(add_row);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) kernel(h.row(r), x.row(r), bias_row, width);
  });
}

}  // namespace llm_tp
#endif

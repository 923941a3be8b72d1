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

HWY_INLINE Lanes16 gelu_times(const Lanes16& gate, const Lanes16& up) {
  const Lanes16 cube = multiply(multiply(gate, gate), gate);
  const Lanes16 inner = fused(cube, broadcast(0.044715f), gate);
  const Lanes16 power = exponential(multiply(inner, broadcast(-1.5957691216057308f)));  // -2 sqrt(2 / pi)
  return multiply(divide(gate, add(broadcast(1.0f), power)), up);
}

/// out[i] = op(a[i], b[i]); the last, partial vector of 16 is computed as the others are.
template <class Op>
HWY_INLINE void for_pairs(float* out, const float* a, const float* b, std::int64_t width, const Op& op) {
  const std::int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::int64_t i = 0; i < whole; i += kLanes) store16(op(load16(a + i), load16(b + i)), out + i);
  if (rest > 0) store_some(op(load_some(a + whole, rest), load_some(b + whole, rest)), out + whole, rest);
}

void silu_mul_row(float* out, const float* gate, const float* up, std::int64_t width) {
  for_pairs(out, gate, up, width, [](const Lanes16& g, const Lanes16& u) { return silu_times(g, u); });
}
void gelu_mul_row(float* out, const float* gate, const float* up, std::int64_t width) {
  for_pairs(out, gate, up, width, [](const Lanes16& g, const Lanes16& u) { return gelu_times(g, u); });
}

// bias may be null: then x itself is added.
void add_row(float* h, const float* x, const float* bias, std::int64_t width, float factor) {
  const Lanes16 by = broadcast(factor);
  const std::int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    Lanes16 value = load16(x + i);
    if (bias != nullptr) value = add(value, load16(bias + i));
    store16(add(load16(h + i), multiply(value, by)), h + i);
  }
  if (rest > 0) {
    Lanes16 value = load_some(x + whole, rest);
    if (bias != nullptr) value = add(value, load_some(bias + whole, rest));
    store_some(add(load_some(h + whole, rest), multiply(value, by)), h + whole, rest);
  }
}

void scale_row(float* x, std::int64_t width, float factor) {
  const Lanes16 by = broadcast(factor);
  for_pairs(x, x, x, width, [&](const Lanes16& value, const Lanes16&) { return multiply(value, by); });
}
void soft_cap_row(float* x, std::int64_t width, float cap) {
  for_pairs(x, x, x, width, [&](const Lanes16& value, const Lanes16&) { return soft_capped(value, cap); });
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(silu_mul_row);
HWY_EXPORT(gelu_mul_row);
HWY_EXPORT(add_row);
HWY_EXPORT(scale_row);
HWY_EXPORT(soft_cap_row);

namespace {

using GatedRow = void (*)(float* out, const float* gate, const float* up, std::int64_t width);

void gated(ThreadPool& pool, TensorView out, TensorView gate_up, GatedRow kernel) {
  const std::int64_t rows = out.rows(), width = out.columns();
  LLM_TP_CHECK(gate_up.rows() == rows && gate_up.columns() == 2 * width,
               "silu_mul or gelu_mul: gate_up is not [T, 2C]");
  if (width == 0) return;
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      kernel(out.row(r), gate_up.row(r), gate_up.row(r) + width, width);
  });
}

}  // namespace

void silu_mul(ThreadPool& pool, TensorView out, TensorView gate_up) {
  gated(pool, out, gate_up, HWY_DYNAMIC_DISPATCH(silu_mul_row));
}
void gelu_mul(ThreadPool& pool, TensorView out, TensorView gate_up) {
  gated(pool, out, gate_up, HWY_DYNAMIC_DISPATCH(gelu_mul_row));
}

void add(ThreadPool& pool, TensorView h, TensorView x, TensorView bias, float factor) {
  const std::int64_t rows = h.rows(), width = h.columns();
  LLM_TP_CHECK(x.rows() == rows && x.columns() == width, "add: h and x differ in shape");
  LLM_TP_CHECK(bias.empty() || (bias.rows() == 1 && bias.columns() == width), "add: bias is not [H]");
  if (width == 0) return;
  const float* bias_row = bias.empty() ? nullptr : bias.row(0);
  const auto kernel = HWY_DYNAMIC_DISPATCH(add_row);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) kernel(h.row(r), x.row(r), bias_row, width, factor);
  });
}

void scale(ThreadPool& pool, TensorView x, float factor) {
  const auto kernel = HWY_DYNAMIC_DISPATCH(scale_row);
  run_rows(pool, x.rows(), x.columns(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) kernel(x.row(r), x.columns(), factor);
  });
}

void soft_cap(ThreadPool& pool, TensorView x, float cap) {
  LLM_TP_CHECK(cap > 0, "soft_cap: the cap is not positive");
  const auto kernel = HWY_DYNAMIC_DISPATCH(soft_cap_row);
  run_rows(pool, x.rows(), x.columns(), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) kernel(x.row(r), x.columns(), cap);
  });
}

}  // namespace llm_tp
#endif

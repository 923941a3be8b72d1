#include "kernels/cpu/rope.h"

#include "kernels/cpu/row_runs.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rope.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

struct Pair {
  Lanes16 low, high;
};
HWY_INLINE Pair rotate(const Lanes16& low, const Lanes16& high, const Lanes16& cosine, const Lanes16& sine) {
  return {fused(low, cosine, multiply(multiply(high, sine), broadcast(-1.0f))),
          fused(high, cosine, multiply(low, sine))};
}

void rope_row(float* x, const float* cosine, const float* sine, std::int64_t heads, std::int64_t head_dim,
              std::int64_t half) {
  const std::int64_t whole = half / kLanes * kLanes, rest = half - whole;
  for (std::int64_t head = 0; head < heads; ++head) {
    float* low = x + head * head_dim;
    float* high = low + half;
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      const Pair pair = rotate(load16(low + i), load16(high + i), load16(cosine + i), load16(sine + i));
      store16(pair.low, low + i);
      store16(pair.high, high + i);
    }
    if (rest > 0) {
      const Pair pair = rotate(load_some(low + whole, rest), load_some(high + whole, rest),
                               load_some(cosine + whole, rest), load_some(sine + whole, rest));
      store_some(pair.low, low + whole, rest);
      store_some(pair.high, high + whole, rest);
    }
  }
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llm_tp {
HWY_EXPORT(rope_row);

void rope(ThreadPool& pool, TensorView x, TensorView cos_sin, int head_dim) {
  const std::int64_t rows = x.rows(), width = x.columns(), rotary = cos_sin.columns();
  LLM_TP_CHECK(head_dim > 0 && width % head_dim == 0, "rope: x does not hold whole heads");
  LLM_TP_CHECK(cos_sin.rows() == rows, "rope: one row of cos_sin a row of x");
  LLM_TP_CHECK(rotary % 2 == 0 && rotary <= head_dim, "rope: rotary is odd or exceeds head_dim");
  if (width == 0) return;
  const auto kernel = HWY_DYNAMIC_DISPATCH(rope_row);
  run_rows(pool, rows, width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* cosine = cos_sin.row(r);
      kernel(x.row(r), cosine, cosine + rotary / 2, width / head_dim, head_dim, rotary / 2);
    }
  });
}

}  // namespace llm_tp
#endif

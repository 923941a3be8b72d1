#pragma once
#include "kernels/cpu/packed_weight.h"

namespace llm_tp {

/// out [R,T,N] = the sums of x [T,K] * w^T at the R roots of w's leaves (a matrix [T,N] with any row stride
/// where R is 1), plus bias [N] where not null (R = 1). x: f32, rows may be strided. The arithmetic
/// (docs/numerics.md), per output and leaf:
///   plain weights      sum = fma(w[k], x[k], sum), k ascending
///   quantised, kF32    the same with the widened weight
///   quantised, kInt8   x is rounded to int8 a block of 32 with scale dx = amax / 127; per block in order, i
///   the exact integer
///                      sum of q * xq: sum = fma(f32(i), dw * dx, sum), and with a minimum m: sum = fma(m, dx
///                      * f32(sum xq), sum)
/// Leaf sums are added along the tree of base/sum_tree.h.
void linear(ThreadPool& pool, TensorView out, TensorView x, const CpuPackedWeight& w, const float* bias,
            ActivationKind activations);

}  // namespace llm_tp

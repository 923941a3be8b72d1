#pragma once
#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::rms_norm. The squares of a row are summed in 16 interleaved partial sums in index order by
/// fma, which are folded by halves. out = (x * (1 / sqrt(mean + eps))) * weight. Rows are shared out over the
/// pool.
void rms_norm(ThreadPool& pool, TensorView out, TensorView x, TensorView weight, float eps);

/// DeviceBackend::norm_heads, by the same arithmetic.
void norm_heads(ThreadPool& pool, TensorView x, TensorView weight, float eps);

/// DeviceBackend::head_squares and norm_by_squares: each head's squares as above, then the heads in order.
void head_squares(ThreadPool& pool, TensorView out, TensorView x);
void norm_by_squares(ThreadPool& pool, TensorView x, TensorView squares, std::int64_t width,
                     TensorView weight, float eps);

}  // namespace llm_tp

#pragma once
#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::rms_norm. The squares of a row are summed in 16 interleaved partial sums in index order by
/// fma, which are folded by halves. out = (x * (1 / sqrt(mean + eps))) * weight. Rows are shared out over the
/// pool.
void rms_norm(ThreadPool& pool, TensorView out, TensorView x, TensorView weight, float eps);

}  // namespace llm_tp

#pragma once
#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::rope. With half = rotary / 2: x[i] = x[i] * cos[i] - x[i + half] * sin[i] and
/// x[i + half] = x[i + half] * cos[i] + x[i] * sin[i]; the second product is rounded, the first is fused.
void rope(ThreadPool& pool, TensorView x, TensorView cos_sin, int head_dim);

}  // namespace llm_tp

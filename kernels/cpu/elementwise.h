#pragma once
#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::silu_mul: (gate / (1 + exp(-gate))) * up, each step rounded.
void silu_mul(ThreadPool& pool, TensorView out, TensorView gate_up);

/// DeviceBackend::add: h + (x + bias).
void add(ThreadPool& pool, TensorView h, TensorView x, TensorView bias);

}  // namespace llm_tp

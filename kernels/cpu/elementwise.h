#pragma once
#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::silu_mul: (gate / (1 + exp(-gate))) * up, each step rounded.
void silu_mul(ThreadPool& pool, TensorView out, TensorView gate_up);

/// DeviceBackend::gelu_mul: (gate / (1 + exp(inner * -2 sqrt(2 / pi)))) * up with inner = fma(gate^3,
/// 0.044715, gate), each step rounded.
void gelu_mul(ThreadPool& pool, TensorView out, TensorView gate_up);

/// DeviceBackend::add: h + (x + bias) * factor.
void add(ThreadPool& pool, TensorView h, TensorView x, TensorView bias, float factor);

/// DeviceBackend::scale.
void scale(ThreadPool& pool, TensorView x, float factor);

/// DeviceBackend::soft_cap: tanh(x / cap) * cap, each step rounded.
void soft_cap(ThreadPool& pool, TensorView x, float cap);

}  // namespace llm_tp

#pragma once
#include "kernels/activation.h"
#include "kernels/cuda/device.cuh"

namespace llm_tp {

/// x / (1 + exp(-y)); at x = -infinity that would be infinity / infinity.
__device__ inline float times_sigmoid(float x, float y) {
  return x == -INFINITY ? 0.0f : x / (1.0f + expf(-y));
}

/// act(gate) * up.
__device__ inline float silu_times(float gate, float up) { return times_sigmoid(gate, gate) * up; }
__device__ inline float gelu_times(float gate, float up) {
  const float u = 0.7978845608028654f * (gate + 0.044715f * gate * gate * gate);
  return times_sigmoid(gate, 2.0f * u) * up;
}
__device__ inline float gate_times(Activation activation, float gate, float up) {
  return activation == Activation::kGelu ? gelu_times(gate, up) : silu_times(gate, up);
}

}  // namespace llm_tp

#pragma once
#include "kernels/cuda/device.cuh"

namespace llm_tp {

/// h + (x + bias[i]) * factor, one rounding each; bias may be null.
__device__ inline float residual_sum(float h, float x, const float* bias, float factor, std::int64_t i) {
  const float added = bias != nullptr ? x + bias[i] : x;
  return h + added * factor;
}

}  // namespace llm_tp

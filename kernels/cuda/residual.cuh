#pragma once
#include "kernels/cuda/device.cuh"

namespace llm_tp {

/// Element i of h + (x + bias) * factor, one rounding each; bias may be null.
__device__ inline float residual_sum(const float* h, const float* x, const float* bias, float factor,
                                     std::int64_t i) {
  const float added = bias != nullptr ? x[i] + bias[i] : x[i];
  return h[i] + added * factor;
}

}  // namespace llm_tp

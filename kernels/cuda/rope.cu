#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ops.h"

namespace llm_tp {
namespace {

constexpr int kThreads = 128;

/// One thread a pair of elements; rows in blockIdx.y.
__global__ void rope_kernel(DeviceRows x, DeviceRows cos_sin, int head_dim) {
  const int half = static_cast<int>(cos_sin.columns / 2);
  const std::int64_t pair = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pair >= x.columns / head_dim * half) return;
  const std::int64_t i = pair % half;
  float* const at = x.data + blockIdx.y * x.stride + pair / half * head_dim + i;
  const float* const angles = cos_sin.data + blockIdx.y * cos_sin.stride;
  const float low = at[0], high = at[half], cosine = angles[i], sine = angles[half + i];
  at[0] = fmaf(low, cosine, -(high * sine));
  at[half] = fmaf(high, cosine, low * sine);
}

}  // namespace

void rope(cudaStream_t stream, DeviceRows x, DeviceRows cos_sin, int head_dim) {
  const std::int64_t pairs = x.columns / head_dim * (cos_sin.columns / 2);
  LLM_TP_LAUNCH(rope_kernel, dim3(blocks_for(pairs, kThreads), static_cast<unsigned>(x.rows)), kThreads, 0,
                stream, x, cos_sin, head_dim);
}

}  // namespace llm_tp

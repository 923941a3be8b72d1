#include "kernels/cuda/ops.h"
#include "kernels/cuda/residual.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 256;  // also the number of partial sums: part of the arithmetic

/// 1 / the root of a row's mean square, from each thread's sum of squares. All threads of the block call it,
/// once.
__device__ inline float norm_factor(float sum, std::int64_t width, float epsilon) {
  LLM_TP_SHARED(float, partial, [kThreads / 32]);
  for (int distance = 16; distance > 0; distance /= 2) sum = sum + __shfl_xor_sync(~0u, sum, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0.0f;
  for (int warp = 0; warp < kThreads / 32; ++warp) total = total + partial[warp];
  return 1.0f / sqrtf(total / static_cast<float>(width) + epsilon);
}

/// One block a row.
__global__ void rms_norm_kernel(DeviceRows out, DeviceRows x, const float* weight, float epsilon) {
  const float* const row = x.data + blockIdx.x * x.stride;
  float* const to = out.data + blockIdx.x * out.stride;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x; i < x.columns; i += kThreads) sum = fmaf(row[i], row[i], sum);
  const float factor = norm_factor(sum, x.columns, epsilon);
  for (std::int64_t i = threadIdx.x; i < x.columns; i += kThreads) to[i] = row[i] * factor * weight[i];
}

/// One block a row.
__global__ void add_norm_kernel(DeviceRows out, DeviceRows h, DeviceRows x, const float* bias, float factor,
                                const float* weight, float epsilon) {
  float* const row = h.data + blockIdx.x * h.stride;
  const float* const added = x.data + blockIdx.x * x.stride;
  float* const to = out.data + blockIdx.x * out.stride;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x; i < h.columns; i += kThreads) {
    const float value = residual_sum(row, added, bias, factor, i);
    row[i] = value;
    sum = fmaf(value, value, sum);
  }
  const float scale = norm_factor(sum, h.columns, epsilon);
  for (std::int64_t i = threadIdx.x; i < h.columns; i += kThreads) to[i] = row[i] * scale * weight[i];
}

/// One warp a row of x and a head, in blockIdx.y.
__global__ void head_squares_kernel(DeviceRows out, DeviceRows x) {
  const std::int64_t head_dim = x.columns / out.rows;
  const float* const head = x.data + blockIdx.x * x.stride + blockIdx.y * head_dim;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x; i < head_dim; i += 32) sum = fmaf(head[i], head[i], sum);
  for (int distance = 16; distance > 0; distance /= 2) sum = sum + __shfl_xor_sync(~0u, sum, distance);
  if (threadIdx.x == 0) out.data[blockIdx.y * out.stride + blockIdx.x] = sum;
}

/// One block a row.
__global__ void norm_by_squares_kernel(DeviceRows x, DeviceRows squares, std::int64_t width,
                                       const float* weight, float epsilon) {
  float total = 0.0f;
  for (std::int64_t head = 0; head < squares.rows; ++head)
    total = total + squares.data[head * squares.stride + blockIdx.x];
  const float factor = 1.0f / sqrtf(total / static_cast<float>(width) + epsilon);
  float* const row = x.data + blockIdx.x * x.stride;
  for (std::int64_t i = threadIdx.x; i < x.columns; i += kThreads) row[i] = row[i] * factor * weight[i];
}

}  // namespace

void rms_norm(cudaStream_t stream, DeviceRows out, DeviceRows x, const float* weight, float epsilon) {
  LLM_TP_LAUNCH(rms_norm_kernel, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, out, x, weight,
                epsilon);
}

void add_norm(cudaStream_t stream, DeviceRows out, DeviceRows h, DeviceRows x, const float* bias,
              float factor, const float* weight, float epsilon) {
  LLM_TP_LAUNCH(add_norm_kernel, dim3(static_cast<unsigned>(h.rows)), kThreads, 0, stream, out, h, x, bias,
                factor, weight, epsilon);
}

void head_squares(cudaStream_t stream, DeviceRows out, DeviceRows x) {
  const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(out.rows));
  LLM_TP_LAUNCH(head_squares_kernel, grid, 32, 0, stream, out, x);
}

void norm_by_squares(cudaStream_t stream, DeviceRows x, DeviceRows squares, std::int64_t width,
                     const float* weight, float epsilon) {
  LLM_TP_LAUNCH(norm_by_squares_kernel, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, x, squares,
                width, weight, epsilon);
}

}  // namespace llm_tp

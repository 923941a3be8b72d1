#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/ops.h"

namespace llm_tp {
namespace {

constexpr int kThreads = kNormThreads;

/// One block a row.
__global__ void rms_norm_kernel(DeviceRows out, DeviceRows x, const float* weight, float epsilon) {
  const float* const row = x.data + blockIdx.x * x.stride;
  float* const to = out.data + blockIdx.x * out.stride;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x; i < x.columns; i += kThreads) sum = fmaf(row[i], row[i], sum);
  const float factor = norm_factor_of_block(sum, x.columns, epsilon);
  scale_row(to, row, weight, x.columns, factor);
}

/// One block a row.
__global__ void add_norm_kernel(DeviceResidualNorm norm, DeviceRows x) {
  const float* const added = x.data + blockIdx.x * x.stride;
  add_norm_row(norm, blockIdx.x, [&](float(&numbers)[kNormAhead], std::int64_t first) {
    load_ahead(numbers, added, first, x.columns);
  });
}

/// One warp a row of x and a head, in blockIdx.y.
__global__ void head_squares_kernel(DeviceRows out, DeviceRows x) {
  const std::int64_t head_dim = x.columns / out.rows;
  const float* const head = x.data + blockIdx.x * x.stride + blockIdx.y * head_dim;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x; i < head_dim; i += 32) sum = fmaf(head[i], head[i], sum);
  sum = fold_squares(sum);
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
  scale_row(row, row, weight, x.columns, factor);
}

}  // namespace

void rms_norm(cudaStream_t stream, DeviceRows out, DeviceRows x, const float* weight, float epsilon) {
  LLM_TP_LAUNCH(rms_norm_kernel, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, out, x, weight,
                epsilon);
}

void add_norm(cudaStream_t stream, const DeviceResidualNorm& norm, DeviceRows x) {
  LLM_TP_LAUNCH(add_norm_kernel, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, norm, x);
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

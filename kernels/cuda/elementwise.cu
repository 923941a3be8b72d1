#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/residual.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 256;

/// The thread's element of `rows`: one thread an element, rows in blockIdx.y.
__device__ inline std::int64_t own_column() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
dim3 grid_over(DeviceRows rows) {
  return dim3(blocks_for(rows.columns, kThreads), static_cast<unsigned>(rows.rows));
}

__global__ void silu_mul_kernel(DeviceRows out, DeviceRows gate_up) {
  const std::int64_t i = own_column();
  if (i >= out.columns) return;
  const float* row = gate_up.data + blockIdx.y * gate_up.stride;
  out.data[blockIdx.y * out.stride + i] = silu_times(row[i], row[out.columns + i]);
}

__global__ void gelu_mul_kernel(DeviceRows out, DeviceRows gate_up) {
  const std::int64_t i = own_column();
  if (i >= out.columns) return;
  const float* row = gate_up.data + blockIdx.y * gate_up.stride;
  out.data[blockIdx.y * out.stride + i] = gelu_times(row[i], row[out.columns + i]);
}

__global__ void add_kernel(DeviceRows h, DeviceRows x, const float* bias, float factor) {
  const std::int64_t i = own_column();
  if (i >= h.columns) return;
  float* const row = h.data + blockIdx.y * h.stride;
  row[i] = residual_sum(row[i], x.data[blockIdx.y * x.stride + i], bias, factor, i);
}

__global__ void scale_kernel(DeviceRows x, float factor) {
  const std::int64_t i = own_column();
  if (i >= x.columns) return;
  float* const at = x.data + blockIdx.y * x.stride + i;
  *at = *at * factor;
}

__global__ void soft_cap_kernel(DeviceRows x, float cap) {
  const std::int64_t i = own_column();
  if (i >= x.columns) return;
  float* const at = x.data + blockIdx.y * x.stride + i;
  *at = cap * tanhf(*at / cap);
}

__global__ void clear_kernel(DeviceRows x) {
  const std::int64_t i = own_column();
  if (i < x.columns) x.data[blockIdx.y * x.stride + i] = 0.0f;
}

/// One thread a column, so that rows that go to one place are added in their order.
__global__ void add_rows_kernel(DeviceRows out, DeviceRows x, const std::int32_t* rows,
                                const float* weights) {
  const std::int64_t i = own_column();
  if (i >= out.columns) return;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    float* const at = out.data + rows[r] * out.stride + i;
    *at = fmaf(weights[r], x.data[r * x.stride + i], *at);
  }
}

__global__ void gather_rows_kernel(DeviceRows out, DeviceRows x, const std::int32_t* numbers) {
  const std::int64_t i = own_column();
  if (i >= out.columns) return;
  out.data[blockIdx.y * out.stride + i] = x.data[numbers[blockIdx.y] * x.stride + i];
}

}  // namespace

void silu_mul(cudaStream_t stream, DeviceRows out, DeviceRows gate_up) {
  LLM_TP_LAUNCH(silu_mul_kernel, grid_over(out), kThreads, 0, stream, out, gate_up);
}

void gelu_mul(cudaStream_t stream, DeviceRows out, DeviceRows gate_up) {
  LLM_TP_LAUNCH(gelu_mul_kernel, grid_over(out), kThreads, 0, stream, out, gate_up);
}

void add(cudaStream_t stream, DeviceRows h, DeviceRows x, const float* bias, float factor) {
  LLM_TP_LAUNCH(add_kernel, grid_over(h), kThreads, 0, stream, h, x, bias, factor);
}

void scale(cudaStream_t stream, DeviceRows x, float factor) {
  LLM_TP_LAUNCH(scale_kernel, grid_over(x), kThreads, 0, stream, x, factor);
}

void soft_cap(cudaStream_t stream, DeviceRows x, float cap) {
  LLM_TP_LAUNCH(soft_cap_kernel, grid_over(x), kThreads, 0, stream, x, cap);
}

void clear(cudaStream_t stream, DeviceRows x) {
  LLM_TP_LAUNCH(clear_kernel, grid_over(x), kThreads, 0, stream, x);
}

void add_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const std::int32_t* rows,
              const float* weights) {
  LLM_TP_LAUNCH(add_rows_kernel, dim3(blocks_for(out.columns, kThreads)), kThreads, 0, stream, out, x, rows,
                weights);
}

void gather_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const std::int32_t* numbers) {
  LLM_TP_LAUNCH(gather_rows_kernel, grid_over(out), kThreads, 0, stream, out, x, numbers);
}

}  // namespace llm_tp

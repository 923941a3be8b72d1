#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

namespace llm_tp {

/// Rows of f32 in device memory: row r begins at data + r * stride.
struct DeviceRows {
  float* data = nullptr;
  std::int64_t stride = 0;  // elements
  std::int64_t rows = 0, columns = 0;
};

/// ResidualNorm of kernels/device.h; bias may be null.
struct DeviceResidualNorm {
  DeviceRows out, h;
  const float* bias = nullptr;
  float factor = 1;
  const float* weight = nullptr;
  float epsilon = 0;
};

// The ops of kernels/device.h, queued on a stream; shapes are checked by the caller and none is empty. Each
// works on a row by itself: what a row gets depends on its own inputs alone.

/// Partial sums of 256 interleaved runs by fma, folded by halves: another order than the CPU's. out may alias
/// x.
void rms_norm(cudaStream_t stream, DeviceRows out, DeviceRows x, const float* weight, float epsilon);
/// add of x, then rms_norm of h.
void add_norm(cudaStream_t stream, const DeviceResidualNorm& norm, DeviceRows x);
/// out [heads, T]: 32 interleaved runs by fma, folded by halves.
void head_squares(cudaStream_t stream, DeviceRows out, DeviceRows x);
/// squares [heads, T] are added in order of the heads.
void norm_by_squares(cudaStream_t stream, DeviceRows x, DeviceRows squares, std::int64_t width,
                     const float* weight, float epsilon);
void silu_mul(cudaStream_t stream, DeviceRows out, DeviceRows gate_up);
void gelu_mul(cudaStream_t stream, DeviceRows out, DeviceRows gate_up);
/// bias may be null.
void add(cudaStream_t stream, DeviceRows h, DeviceRows x, const float* bias, float factor);
void scale(cudaStream_t stream, DeviceRows x, float factor);
void soft_cap(cudaStream_t stream, DeviceRows x, float cap);
void clear(cudaStream_t stream, DeviceRows x);
/// numbers [out.rows] in device memory.
void gather_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const std::int32_t* numbers);
/// rows, weights [x.rows] in device memory.
void add_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const std::int32_t* rows,
              const float* weights);

}  // namespace llm_tp

#pragma once
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/residual.cuh"

namespace llm_tp {

// RMSNorm's arithmetic: thread t of 256 sums the squares of columns t, t + 256, ... by fma; the sums are
// folded by halves within a warp, and those of the warps are added in order.

constexpr int kNormThreads = 256;  // the number of partial sums: part of the arithmetic
constexpr int kNormWarps = kNormThreads / 32;

/// The sum of a warp's partial sums, on all of its lanes, which all call it.
__device__ inline float fold_squares(float sum) {
  for (int distance = 16; distance > 0; distance /= 2) sum = sum + __shfl_xor_sync(~0u, sum, distance);
  return sum;
}

/// 1 / the root of a row's mean square, from the sums of its warps.
__device__ inline float norm_factor(const float* of_warps, std::int64_t width, float epsilon) {
  float total = 0.0f;
  for (int warp = 0; warp < kNormWarps; ++warp) total = total + of_warps[warp];
  return 1.0f / sqrtf(total / static_cast<float>(width) + epsilon);
}

/// The same from each thread's sum of squares. All 256 threads of the block call it, once.
__device__ inline float norm_factor_of_block(float sum, std::int64_t width, float epsilon) {
  LLM_TP_SHARED(float, of_warps, [kNormWarps]);
  sum = fold_squares(sum);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  return norm_factor(of_warps, width, epsilon);
}

/// Columns of a row that a thread takes at a time, so that their loads are on their way together.
constexpr int kNormAhead = 8;

/// Columns first, first + 256, ... of a row, 0 beyond those that there are.
__device__ inline void load_ahead(float (&numbers)[kNormAhead], const float* row, std::int64_t first,
                                  std::int64_t columns) {
#pragma unroll
  for (int k = 0; k < kNormAhead; ++k) {
    const std::int64_t i = first + k * kNormThreads;
    numbers[k] = i < columns ? row[i] : 0.0f;
  }
}

/// to = from * scale * weight; to may be from. All 256 threads of the block call it.
__device__ inline void scale_row(float* to, const float* from, const float* weight, std::int64_t columns,
                                 float scale) {
  constexpr int kStep = kNormAhead * kNormThreads;
  for (std::int64_t first = threadIdx.x; first < columns; first += kStep) {
    float x[kNormAhead], w[kNormAhead];
    load_ahead(x, from, first, columns);
    load_ahead(w, weight, first, columns);
#pragma unroll
    for (int k = 0; k < kNormAhead; ++k) {
      const std::int64_t i = first + k * kNormThreads;
      if (i < columns) to[i] = x[k] * scale * w[k];
    }
  }
}

/// Row `number` of h += what x gives, and the norm of it. x(numbers, first) gives what is added to columns
/// first, first + 256, ... below those that there are, and is asked for each once. All 256 threads of the
/// block call it, once.
template <class Added>
__device__ void add_norm_row(const DeviceResidualNorm& norm, std::int64_t number, const Added& x) {
  constexpr int kStep = kNormAhead * kNormThreads;
  float* const row = norm.h.data + number * norm.h.stride;
  const std::int64_t columns = norm.h.columns;
  float sum = 0.0f;
  for (std::int64_t first = threadIdx.x; first < columns; first += kStep) {
    float before[kNormAhead], added[kNormAhead];
    load_ahead(before, row, first, columns);
    x(added, first);
#pragma unroll
    for (int k = 0; k < kNormAhead; ++k) {
      const std::int64_t i = first + k * kNormThreads;
      if (i >= columns) break;
      const float value = residual_sum(before[k], added[k], norm.bias, norm.factor, i);
      row[i] = value;
      sum = fmaf(value, value, sum);
    }
  }
  const float scale = norm_factor_of_block(sum, columns, norm.epsilon);
  scale_row(norm.out.data + number * norm.out.stride, row, norm.weight, columns, scale);
}

}  // namespace llm_tp

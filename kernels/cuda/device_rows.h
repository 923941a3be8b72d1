#pragma once
#include "base/error.h"
#include "kernels/cuda/ops.h"
#include "kernels/device.h"

namespace llm_tp {

// Tensors of device memory as kernels take them. Errors: kBug.

/// A matrix of f32, or the rows of a stack of them.
inline DeviceRows rows_of(TensorView t) {
  LLM_TP_CHECK(t.dtype == DType::kF32 && t.rank >= 1, "an activation that is not f32");
  return {reinterpret_cast<float*>(t.data), t.row_stride, t.rows(), t.columns()};
}

/// A vector of so many elements, or nullptr for none.
inline const float* vector_of(TensorView t, std::int64_t elements) {
  if (t.empty()) return nullptr;
  LLM_TP_CHECK(t.dtype == DType::kF32 && t.columns() == elements, "a vector of another length");
  return reinterpret_cast<const float*>(t.data);
}

inline DeviceResidualNorm residual_norm_of(const ResidualNorm& norm) {
  const std::int64_t columns = norm.h.columns();
  LLM_TP_CHECK(norm.out.rows() == norm.h.rows() && norm.out.columns() == columns, "add_norm: shapes");
  return {rows_of(norm.out),
          rows_of(norm.h),
          vector_of(norm.bias, columns),
          norm.factor,
          vector_of(norm.weight, columns),
          norm.epsilon};
}

}  // namespace llm_tp

#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/error.h"

namespace llm_tp {

/// [begin, end) in global numbering: heads, columns, rows.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const noexcept { return end - begin; }
  bool empty() const noexcept { return end <= begin; }
  bool contains(std::int64_t i) const noexcept { return begin <= i && i < end; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// A borrowed row-major tensor of up to 4 dimensions in the memory of one device. Rows (runs of the last
/// dimension) are contiguous; the stride between rows may exceed the row, so a column range of a matrix is a
/// view.
struct TensorView {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;                         // dimensions in use
  std::array<std::int64_t, 4> shape{};  // shape[rank - 1] is contiguous
  std::int64_t row_stride = 0;          // elements from one row to the next

  static TensorView matrix(void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                           std::int64_t stride) {
    return {static_cast<std::byte*>(data), dtype, 2, {rows, columns, 0, 0}, stride};
  }
  static TensorView matrix(float* data, std::int64_t rows, std::int64_t columns) {
    return matrix(data, DType::kF32, rows, columns, columns);
  }
  static TensorView vector(float* data, std::int64_t elements) {
    return {reinterpret_cast<std::byte*>(data), DType::kF32, 1, {elements, 0, 0, 0}, elements};
  }
  bool empty() const noexcept { return data == nullptr; }
  std::int64_t columns() const noexcept { return shape[static_cast<std::size_t>(rank - 1)]; }
  /// Rows of all leading dimensions together.
  std::int64_t rows() const noexcept {
    std::int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= shape[static_cast<std::size_t>(i)];
    return n;
  }
  /// Row r as f32; the dtype must be f32.
  float* row(std::int64_t r) const {
    LLM_TP_CHECK(dtype == DType::kF32, "row() of a tensor that is not f32");
    return reinterpret_cast<float*>(data) + r * row_stride;
  }
  /// Rows [begin, end) of a matrix.
  TensorView row_range(std::int64_t begin, std::int64_t end) const {
    LLM_TP_CHECK(rank == 2 && 0 <= begin && begin <= end && end <= shape[0], "row_range");
    return matrix(data + row_bytes(dtype, begin * row_stride), dtype, end - begin, shape[1], row_stride);
  }
  /// Columns [begin, end) of a matrix; plain dtypes only.
  TensorView column_range(std::int64_t begin, std::int64_t end) const {
    LLM_TP_CHECK(rank == 2 && 0 <= begin && begin <= end && end <= shape[1], "column_range");
    return matrix(data + row_bytes(dtype, begin), dtype, shape[0], end - begin, row_stride);
  }
};

}  // namespace llm_tp

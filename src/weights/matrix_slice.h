#pragma once
#include <cstddef>
#include <span>

#include "weights/weight_source.h"

namespace llm_tp {

/// Checks that rows and columns lie inside the tensor and that columns lie on block borders: what read()
/// requires.
void check_slice(const WeightInfo& info, Range rows, Range columns);

/// Copies a slice of the row-major tensor `data` to out, row after row without gaps; touches only the slice.
/// data: info.rows x row_bytes(info.dtype, info.columns).
void copy_slice(const WeightInfo& info, std::span<const std::byte> data, Range rows, Range columns,
                std::byte* out);

}  // namespace llm_tp

#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"

namespace llm_tp {

/// Numbers of a file in the layout of `dtype` (base/dtype.h), exactly. `elements` is a multiple of
/// block_elements(dtype).
std::vector<double> widen(DType dtype, const std::byte* from, std::int64_t elements);

}  // namespace llm_tp

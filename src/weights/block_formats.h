#pragma once
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace llm_tp {

/// n numbers (whole blocks) of a file's dtype as f32. Any alignment of `in`; dtypes as convert_row.
void decode_row(DType from, const std::byte* in, float* out, std::int64_t n);

/// n f32 numbers (whole blocks) in dtype `to`: a plain one, q8_0, q4_0 or q4_1. q8_0, q4_0 and q4_1 round as
/// ggml's reference functions do, to the bit: the scale is computed in f32 and stored as f16, the numbers are
/// divided by the scale before it is rounded. A block with a number that is not finite, or too large for an
/// f16 scale, decodes to numbers that are not finite.
void encode_row(DType to, const float* in, std::byte* out, std::int64_t n);

}  // namespace llm_tp

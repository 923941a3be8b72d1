#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace llm_tp {

/// How the blocks of a quantised weight lie in a tile row of 16 rows (packed_weight.h): first the codes of
/// all units of 32 columns, then the factors of all groups of units that share some.
///
/// Codes of a unit: of every lane 16, 8 of the first 16 columns and 8 of the next.
///   4 bits    8 bytes a lane: byte i holds codes i and i + 8
///   5, 6 bits the low four as above, then of every lane the high bits of code i at bit i, or bits 2 i and 2
///   i + 1 8 bits    16 bytes a lane
/// Factors of a group, each for 16 rows: d (f16 or f32); dmin (f16) where there are minima; a zero point
/// (i16) where rows have one of their own; then of every run of columns the scales (i8) and, where there are,
/// the minima (u8). What a number is: (d * scale) * (code - zero) - dmin * minimum, as base/blocks/block.h
/// has it.
struct BlockLayout {
  int code_bits;
  int zero;  // of all codes as they are stored
  bool float_d, has_dmin, has_zeros;
  int run;            // columns, 16 or 32, that share a scale; 0: d alone
  int group_columns;  // the least that kernels are made for: wider groups share factors among more units
  bool fp8;           // codes are e4m3

  constexpr int code_bytes() const { return 64 * code_bits; }
  constexpr int d_bytes() const { return float_d ? 64 : 32; }
  constexpr int run_bytes() const { return run == 0 ? 0 : 16 * (has_dmin ? 2 : 1); }
  /// Where the zero points, and then the factors of the runs, begin in a group.
  constexpr int zeros_at() const { return d_bytes() + (has_dmin ? 32 : 0); }
  constexpr int runs_at() const { return zeros_at() + (has_zeros ? 32 : 0); }
  constexpr int group_bytes() const { return runs_at() + (run == 0 ? 0 : group_columns / run * run_bytes()); }
};

/// The dtype whose kernels also hold this one: groups of 64 and of 128 are groups of 32 that more units
/// share.
constexpr DType kernel_dtype(DType dtype) {
  switch (dtype) {
    case DType::kInt4G64:
    case DType::kInt4G128:
      return DType::kInt4G32;
    case DType::kInt8G64:
    case DType::kInt8G128:
      return DType::kInt8G32;
    case DType::kFp8G64:
    case DType::kFp8G128:
      return DType::kFp8G32;
    default:
      return dtype;
  }
}

/// Of one of the block formats that the device holds; code_bits 0: of none of them.
constexpr BlockLayout block_layout(DType dtype) {
  switch (kernel_dtype(dtype)) {
    case DType::kQ8_0:
      return {8, 0, false, false, false, 0, 32, false};
    case DType::kQ4_0:
      return {4, 8, false, false, false, 0, 32, false};
    case DType::kQ4_1:
      return {4, 0, false, true, false, 0, 32, false};
    case DType::kQ5_0:
      return {5, 16, false, false, false, 0, 32, false};
    case DType::kQ4K:
      return {4, 0, false, true, false, 32, 256, false};
    case DType::kQ5K:
      return {5, 0, false, true, false, 32, 256, false};
    case DType::kQ6K:
      return {6, 32, false, false, false, 16, 256, false};
    case DType::kInt4G32:
      return {4, 0, true, false, true, 0, 32, false};
    case DType::kInt8G32:
      return {8, 0, true, false, true, 0, 32, false};
    case DType::kFp8G32:
      return {8, 0, true, false, false, 0, 32, true};
    default:
      return {0, 0, false, false, false, 0, 32, false};
  }
}

}  // namespace llm_tp

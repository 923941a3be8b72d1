#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace llm_tp {

/// How the blocks of a quantised weight lie in a tile row of 16 rows (packed_weight.h): first the codes of
/// all units of 32 columns, then the factors of all groups of units that share some.
///
/// Codes of a unit: of every lane 16, which are eight pairs of neighbours in the order of operand a. Several
/// are widened at once, so the two of a pair lie 16 bits apart.
///   4 bits     8 bytes a lane: a word each for the pairs 0 to 3 and 4 to 7; pair p at bits 4 p and 16 + 4 p
///   5, 6 bits  the low four as above; then of every lane 2 or 4 bytes, whose lower half has the high bits of
///              the first number of every pair, pair after pair, and whose upper half those of the second
///   8 bits     16 bytes a lane: a word has two pairs, at bytes 0 and 2 and at bytes 1 and 3
/// Factors of a group. A lane has rows r and r + 8, r = lane / 4, so the factors of both are neighbours; one
/// after the other for r = 0 to 7:
///   d of both (f16 or f32), followed by dmin of both (f16) where there are minima
/// then, where rows have a zero point of their own, for r = 0 to 7
///   the zero points of both (bf16), plus code_base()
/// then of every unit, where runs of columns have scales, for r = 0 to 7
///   scales of both (u8, plus 128), followed by the minima of both (u8) or the scales of the unit's next run
/// What a number is: (d * scale) * (code - zero) - dmin * minimum, as base/blocks/block.h has it.
struct BlockLayout {
  int code_bits;
  int zero;  // of all codes as they are stored
  bool float_d, has_dmin, has_zeros;
  int run;            // columns, 16 or 32, that share a scale; 0: d alone
  int group_columns;  // the least that kernels are made for: wider groups share factors among more units
  bool fp8;           // codes are e4m3

  constexpr int code_bytes() const { return 64 * code_bits; }
  /// Bytes of d, and dmin, of two rows.
  constexpr int d_bytes() const { return float_d || has_dmin ? 8 : 4; }
  /// Where the zero points, and then the factors of the runs, begin in a group.
  constexpr int zeros_at() const { return 8 * d_bytes(); }
  constexpr int runs_at() const { return zeros_at() + (has_zeros ? 32 : 0); }
  constexpr int group_bytes() const { return runs_at() + (run == 0 ? 0 : group_columns); }
  /// What is added to codes where they are widened to bf16: below 128 they are the last bits of 128 + code.
  constexpr int code_base() const { return code_bits < 8 ? 128 : 0; }
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

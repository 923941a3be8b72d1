#pragma once
#include "base/blocks/block.h"
#include "kernels/cpu/packed_layout.h"

// Blocks of a multiple of 32 columns of a panel of 16 rows, whose rows have factors of their own. One layout
// with options serves all formats of docs/formats.md that packed_layout.h does not name:
//   factors       16 x f16, bf16 or f32 d
//   minima        16 x f16 minus dmin, where the format has minima
//   zero points   16 x int16, what is added to the codes, where they differ by row
// then for every 32 columns
//   scales        16 x int8 for each run of 16 or 32 columns, where the format has them
//   run minima    16 x uint8 for each run, where the format has them
//   codes         nibbles or bytes as in packed_layout.h
// w = (d * scale) * (value(code) + offset) - dmin * minimum, as base/blocks/block.h evaluates it.

namespace llm_tp::cpu {

enum class Codes { kNibbles, kNonLinear, kE2m1, kBytes, kFp8 };
enum class Factors { kF16, kBF16, kF32 };
enum class Minima { kNone, kOfBlock, kOfRuns };

/// Runs: scales for each 32 columns, 0 to 2. Offset: added to every code.
template <Codes C, Factors F, int Runs, Minima M, bool ZeroPoints, int Offset>
struct GroupLayout {
  static constexpr bool kQuantised = true, kGrouped = true, kByColumn = false;
  static constexpr Codes kCodes = C;
  static constexpr Factors kFactors = F;
  static constexpr Minima kMinima = M;
  static constexpr bool kNibbles = C == Codes::kNibbles || C == Codes::kNonLinear || C == Codes::kE2m1;
  static constexpr bool kZeroPoints = ZeroPoints;
  static constexpr const std::int8_t* kValues = C == Codes::kE2m1 ? kE2m1Values : kNonLinearValues;
  static constexpr bool kIntegers = C != Codes::kFp8;  // int8 activations make exact sums
  static constexpr int kRuns = Runs, kOffset = Offset;

  // Bytes from the block's begin.
  static constexpr int kMinimaAt = kPanelRows * (F == Factors::kF32 ? 4 : 2);
  static constexpr int kZeroPointsAt = kMinimaAt + (M == Minima::kNone ? 0 : 2 * kPanelRows);
  static constexpr int kHeader = kZeroPointsAt + (ZeroPoints ? 2 * kPanelRows : 0);
  // Bytes from the begin of 32 columns.
  static constexpr int kRunMinimaAt = Runs * kPanelRows;
  static constexpr int kCodesAt = kRunMinimaAt + (M == Minima::kOfRuns ? Runs * kPanelRows : 0);
  static constexpr int kChunk = kCodesAt + kPanelRows * (kNibbles ? 16 : 32);

  static constexpr int bytes(int columns) { return kHeader + columns / 32 * kChunk; }
};

template <>
struct PackedLayout<DType::kQ5_1> : GroupLayout<Codes::kBytes, Factors::kF16, 0, Minima::kOfBlock, false, 0> {
};
template <>
struct PackedLayout<DType::kQ2K> : GroupLayout<Codes::kNibbles, Factors::kF16, 2, Minima::kOfRuns, false, 0> {
};
template <>
struct PackedLayout<DType::kQ3K> : GroupLayout<Codes::kNibbles, Factors::kF16, 2, Minima::kNone, false, -4> {
};
template <>
struct PackedLayout<DType::kQ4K> : GroupLayout<Codes::kNibbles, Factors::kF16, 1, Minima::kOfRuns, false, 0> {
};
template <>
struct PackedLayout<DType::kQ5K> : GroupLayout<Codes::kBytes, Factors::kF16, 1, Minima::kOfRuns, false, 0> {};
template <>
struct PackedLayout<DType::kQ6K> : GroupLayout<Codes::kBytes, Factors::kF16, 2, Minima::kNone, false, 0> {};
template <>
struct PackedLayout<DType::kIQ4NL>
    : GroupLayout<Codes::kNonLinear, Factors::kF16, 0, Minima::kNone, false, 0> {};
template <>
struct PackedLayout<DType::kIQ4XS>
    : GroupLayout<Codes::kNonLinear, Factors::kF16, 1, Minima::kNone, false, 0> {};
template <>
struct PackedLayout<DType::kMXFP4> : GroupLayout<Codes::kE2m1, Factors::kBF16, 0, Minima::kNone, false, 0> {};
// The layouts of these do not depend on the columns of a block.
template <>
struct PackedLayout<DType::kInt4G32>
    : GroupLayout<Codes::kNibbles, Factors::kF32, 0, Minima::kNone, true, 0> {};
template <>
struct PackedLayout<DType::kInt8G32> : GroupLayout<Codes::kBytes, Factors::kF32, 0, Minima::kNone, true, 0> {
};
template <>
struct PackedLayout<DType::kFp8G32> : GroupLayout<Codes::kFp8, Factors::kF32, 0, Minima::kNone, false, 0> {};

/// A factor and a zero point for each group of columns, and the group of each column. A panel: for every
/// group 16 x f32 factor and 16 x int16 zero point; then for each column 16 codes, nibbles or bytes. w = d *
/// (code + zero point).
template <bool Nibbles>
struct ColumnLayout {
  static constexpr bool kQuantised = true, kGrouped = true, kByColumn = true, kIntegers = false,
                        kNibbles = Nibbles;
  static constexpr int kZeroPointsAt = 4 * kPanelRows;
  static constexpr int kGroup = 6 * kPanelRows;
  /// Bytes of the codes of `columns` columns: nibbles of two neighbours share bytes.
  static constexpr std::int64_t code_bytes(std::int64_t columns) {
    return kPanelRows * (Nibbles ? (columns + 1) / 2 : columns);
  }
};
template <>
struct PackedLayout<DType::kInt4Columns> : ColumnLayout<true> {};
template <>
struct PackedLayout<DType::kInt8Columns> : ColumnLayout<false> {};

}  // namespace llm_tp::cpu

#pragma once
#include <cstdint>

#include "base/dtype.h"

// How one block of a panel of 16 rows lies in memory, for every dtype that the CPU computes with; see
// packed_weight.h for the panels. Constants only: the translation units of the instruction sets share this.
//   scales, minima: 16 f16, one a row
//   quants: vectors of 64 bytes; bytes 4r .. 4r + 3 are four k of row r, or in formats of nibbles four bytes
//   that hold k = 4j + b in the low and k = 16 + 4j + b in the high half of byte b of vector j

namespace llm_tp::cpu {

inline constexpr int kPanelRows = 16;

template <DType>
struct PackedLayout;

/// Plain numbers: per k 16 of them.
template <class Stored>
struct PlainLayout {
  static constexpr bool kQuantised = false, kGrouped = false;
  static constexpr int kColumns = 1;  // k of a block
  static constexpr int kBytes = kPanelRows * static_cast<int>(sizeof(Stored));
};
template <>
struct PackedLayout<DType::kF32> : PlainLayout<float> {};
template <>
struct PackedLayout<DType::kF16> : PlainLayout<std::uint16_t> {};
template <>
struct PackedLayout<DType::kBF16> : PlainLayout<std::uint16_t> {};

template <>
struct PackedLayout<DType::kQ8_0> {  // int8 q
  static constexpr bool kQuantised = true, kGrouped = false, kHasMinimum = false, kNibbles = false;
  static constexpr int kColumns = 32, kScales = 0, kQuants = 32, kBytes = 544;
};
template <>
struct PackedLayout<DType::kQ4_0> {  // w = d * (q - 8)
  static constexpr bool kQuantised = true, kGrouped = false, kHasMinimum = false, kNibbles = true;
  static constexpr int kColumns = 32, kScales = 0, kQuants = 32, kBytes = 288;
};
template <>
struct PackedLayout<DType::kQ4_1> {  // w = d * q + m
  static constexpr bool kQuantised = true, kGrouped = false, kHasMinimum = true, kNibbles = true;
  static constexpr int kColumns = 32, kScales = 0, kMinima = 32, kQuants = 64, kBytes = 320;
};

}  // namespace llm_tp::cpu

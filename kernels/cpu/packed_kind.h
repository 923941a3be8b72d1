#pragma once
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace llm_tp::cpu {

/// What packing and unpacking know of a dtype; the kernels know its PackedLayout. A new format is a layout, a
/// row of the table in packed_kind.cc, a way to read its blocks in exact_tile-inl.h and in each
/// int8_tile_*-inl.h, and a row of the table in int8_panels-inl.h.
struct PackedKind {
  DType dtype;
  std::int64_t columns;      // k of a block
  std::int64_t block_bytes;  // of the 16 rows of a panel
  /// Writes one row of `columns` numbers in file layout into lane `lane` of a panel.
  void (*pack)(const std::byte* row, std::int64_t columns, std::int64_t lane, std::byte* panel);
  /// Widens lane `lane` of a panel to f32.
  void (*unpack)(const std::byte* panel, std::int64_t columns, std::int64_t lane, float* out);
};

/// Errors: kBug for a dtype that no weight has.
const PackedKind& packed_kind(DType dtype);

}  // namespace llm_tp::cpu

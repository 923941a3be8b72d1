#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/device.h"

namespace llm_tp::cpu {

/// What packing and unpacking know of a dtype; the kernels know its PackedLayout. A new format is a layout, a
/// row of the table in packed_kind.cc, a way to read its blocks in exact_tile-inl.h and in each
/// int8_tile_*-inl.h, and a row of the table in int8_panels-inl.h. Formats whose blocks have scales, minima
/// or zero points of another kind are options of group_layout.h instead, and a row of the table in
/// group_kind.cc.
struct PackedKind {
  DType dtype;
  std::int64_t columns;      // k of a block
  std::int64_t block_bytes;  // of the 16 rows of a panel
  /// Writes one row of spec.columns() numbers in file layout into lane `lane` of a panel.
  void (*pack)(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel);
  /// Widens lane `lane` of a panel to f32, as base/blocks and decode_row do, to the bit.
  void (*unpack)(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out);

  /// Of the 16 rows of a panel.
  std::int64_t panel_bytes(const WeightSpec& spec) const;
};

/// Of the layouts in group_layout.h; nullptr for other dtypes.
const PackedKind* group_kind(DType dtype);

/// Errors: kBug for a dtype that no weight has.
const PackedKind& packed_kind(DType dtype);

}  // namespace llm_tp::cpu

#pragma once
#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace llm_tp {

/// How a weight [N, K] lies in device memory: tiles of 16 rows by 16 columns in the order in which the lanes
/// of a warp hold them as operand a of mma_bf16 (kernels/cuda/ptx.cuh), so that a warp reads a tile as one
/// run of 16 bytes a lane. A tile row holds all its columns one after the other; every leaf begins with a new
/// tile and is filled up with zeros, so that no tile mixes leaves. Lane l holds 8 numbers of a tile: with g =
/// l / 4, c = l % 4 * 2 those at (g, c), (g, c + 1), (g + 8, c), (g + 8, c + 1), and the same four 8 columns
/// on.
///   bf16, f16   512 bytes a tile: lane after lane
///   f32         1024 bytes: the first 4 numbers of every lane, then the last 4
///   blocks      as block_layout.h says
/// Rows lie in order, but in gated weights: there a tile row has eight gates, then the eight rows that they
/// are for, so that a lane holds both.
struct TileLayout {
  explicit TileLayout(const WeightSpec& spec);

  int tiles_per_unit;                      // 1, or 2 for block formats; a unit is what kernels load at once
  std::int64_t tile_rows;                  // of 16 rows
  std::vector<std::int32_t> leaf_units;    // [leaves + 1]: where each leaf begins, in units of one tile row
  std::vector<std::int32_t> leaf_columns;  // [leaves + 1]: likewise in columns of this rank
  std::int64_t units() const noexcept { return leaf_units.back(); }
  std::int64_t row_bytes() const noexcept { return row_bytes_; }
  std::int64_t bytes() const noexcept { return tile_rows * row_bytes(); }

 private:
  std::int64_t row_bytes_;
};

/// Reads the rows of a tile row and packs them into layout.row_bytes(); rows beyond the last are zero.
void pack_tile_row(const WeightSpec& spec, const TileLayout& layout, const RowReader& read,
                   std::int64_t tile_row, std::byte* out);

}  // namespace llm_tp

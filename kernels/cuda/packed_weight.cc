#include "kernels/cuda/packed_weight.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace llm_tp {
namespace {

constexpr std::int64_t kLanes = 32, kTileColumns = 16;

std::int64_t unit_bytes_of(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
    case DType::kF16:
      return 512;
    case DType::kF32:
      return 1024;
    case DType::kQ8_0:
      return 544;
    case DType::kQ4_0:
      return 288;
    case DType::kQ4_1:
      return 320;
    default:
      break;
  }
  throw Error(ExitCode::kConfig, "device cuda does not hold weights of type " + std::string(name_of(dtype)) +
                                     " yet: it takes f32, f16, bf16, q8_0, q4_0 and q4_1; use --dtype bf16");
}

/// Row and column, inside a tile, of number i of a lane.
std::int64_t row_of(std::int64_t lane, std::int64_t i) { return lane / 4 + i / 2 % 2 * 8; }
std::int64_t column_of(std::int64_t lane, std::int64_t i) { return lane % 4 * 2 + i % 2 + i / 4 * 8; }

/// Where number i of a lane lies in a tile of plain numbers, in numbers.
std::int64_t place_of(DType dtype, std::int64_t lane, std::int64_t i) {
  return dtype == DType::kF32 ? i / 4 * 128 + lane * 4 + i % 4 : lane * 8 + i;
}

/// One unit of a block format. blocks: that of the first row in file layout; those of the others follow, each
/// `stride` bytes after the one before.
void pack_blocks(DType dtype, const std::byte* blocks, std::int64_t stride, std::byte* out) {
  const bool bytes = dtype == DType::kQ8_0;
  const std::int64_t header = dtype == DType::kQ4_1 ? 4 : 2;
  std::byte* const scales = out + (bytes ? 512 : 256);
  for (std::int64_t r = 0; r < 16; ++r) {
    std::memcpy(scales + 2 * r, blocks + r * stride, 2);
    if (dtype == DType::kQ4_1) std::memcpy(scales + 32 + 2 * r, blocks + r * stride + 2, 2);
  }
  for (std::int64_t lane = 0; lane < kLanes; ++lane)
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::byte* const from = blocks + row_of(lane, i % 8) * stride;
      const std::int64_t column = i / 8 * kTileColumns + column_of(lane, i % 8);
      if (bytes) {
        out[lane * 16 + i] = from[header + column];
      } else {
        const auto pair = std::to_integer<unsigned>(from[header + column % 16]);
        const unsigned nibble = column < 16 ? pair & 15u : pair >> 4;
        out[lane * 8 + i % 8] |= static_cast<std::byte>(i < 8 ? nibble : nibble << 4);
      }
    }
}

}  // namespace

TileLayout::TileLayout(const WeightSpec& spec)
    : tiles_per_unit(is_quantised(spec.dtype) ? 2 : 1),
      unit_bytes(unit_bytes_of(spec.dtype)),
      tile_rows((spec.rows + 15) / 16) {
  const std::int64_t first = spec.cut.columns_of(spec.leaves).begin,
                     unit_columns = tiles_per_unit * kTileColumns;
  leaf_units.push_back(0);
  leaf_columns.push_back(0);
  for (std::int64_t leaf = spec.leaves.begin; leaf < spec.leaves.end; ++leaf) {
    const Range columns = spec.cut.columns_of({leaf, leaf + 1});
    LLM_TP_CHECK(columns.size() % block_elements(spec.dtype) == 0, "a leaf cuts a quantised block");
    leaf_units.push_back(leaf_units.back() +
                         static_cast<std::int32_t>((columns.size() + unit_columns - 1) / unit_columns));
    leaf_columns.push_back(static_cast<std::int32_t>(columns.end - first));
  }
}

void pack_tile_row(const WeightSpec& spec, const TileLayout& layout, const RowReader& read,
                   std::int64_t tile_row, std::byte* out) {
  std::memset(out, 0, static_cast<std::size_t>(layout.row_bytes()));
  const std::int64_t stored = row_bytes(spec.dtype, spec.columns()), size = block_bytes(spec.dtype);
  thread_local std::vector<std::byte> file_rows;
  file_rows.assign(static_cast<std::size_t>(16 * stored), std::byte{0});
  if (spec.gated) {
    const std::int64_t half = spec.rows / 2;
    const Range gates{tile_row * 8, std::min(half, tile_row * 8 + 8)};
    read(gates, file_rows.data());
    read({half + gates.begin, half + gates.end}, file_rows.data() + 8 * stored);
  } else {
    read({tile_row * 16, std::min(spec.rows, tile_row * 16 + 16)}, file_rows.data());
  }
  for (std::size_t leaf = 0; leaf + 1 < layout.leaf_units.size(); ++leaf) {
    const std::int64_t end = layout.leaf_columns[leaf + 1];
    std::int64_t column = layout.leaf_columns[leaf];
    for (std::int64_t unit = layout.leaf_units[leaf]; unit < layout.leaf_units[leaf + 1]; ++unit) {
      std::byte* const to = out + unit * layout.unit_bytes;
      if (is_quantised(spec.dtype)) {
        pack_blocks(spec.dtype, file_rows.data() + column / 32 * size, stored, to);
        column += 32;
        continue;
      }
      for (std::int64_t lane = 0; lane < kLanes; ++lane)
        for (std::int64_t i = 0; i < 8; ++i) {
          const std::int64_t r = row_of(lane, i), c = column + column_of(lane, i);
          if (c < end)
            std::memcpy(to + place_of(spec.dtype, lane, i) * size, file_rows.data() + r * stored + c * size,
                        static_cast<std::size_t>(size));
        }
      column += kTileColumns;
    }
  }
}

}  // namespace llm_tp

#include "kernels/cuda/packed_weight.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/blocks/block.h"
#include "kernels/cuda/block_layout.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kLanes = 32, kTileColumns = 16, kTileNumbers = 256;

[[noreturn]] void refuse(DType dtype) {
  throw Error(ExitCode::kConfig,
              "device cuda does not hold weights of type " + std::string(name_of(dtype)) +
                  " yet: it takes f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q4_k, q5_k, q6_k, "
                  "int4 and int8 by group, and fp8; use --dtype q8_0 or bf16");
}

/// Row and column, inside a tile, of number i of a lane.
std::int64_t row_of(std::int64_t lane, std::int64_t i) { return lane / 4 + i / 2 % 2 * 8; }
std::int64_t column_of(std::int64_t lane, std::int64_t i) { return lane % 4 * 2 + i % 2 + i / 4 * 8; }

/// Where number i of a lane lies in a tile of plain numbers, in numbers.
std::int64_t place_of(DType dtype, std::int64_t lane, std::int64_t i) {
  return dtype == DType::kF32 ? i / 4 * 128 + lane * 4 + i % 4 : lane * 8 + i;
}

/// Code i of a lane, 16 of each, of a unit that begins at `unit`.
void put_code(const BlockLayout& layout, std::int64_t lane, std::int64_t i, unsigned code, std::byte* unit) {
  const std::int64_t pair = i / 2, second = i % 2;
  if (layout.code_bits == 8) {
    unit[lane * 16 + pair / 2 * 4 + second * 2 + pair % 2] = static_cast<std::byte>(code);
    return;
  }
  const auto put_bits = [](std::byte* at, std::int64_t bit, unsigned bits) {
    at[bit / 8] |= static_cast<std::byte>(bits << bit % 8);
  };
  put_bits(unit + lane * 8, pair / 4 * 32 + second * 16 + pair % 4 * 4, code & 15u);
  const int high_bits = layout.code_bits - 4;
  put_bits(unit + 256 + lane * 2 * high_bits, (second * 8 + pair) * high_bits, code >> 4);
}

/// The zero point of a row's group as kernels subtract it.
std::uint16_t zero_point(const BlockLayout& layout, int zero) {
  const float based = static_cast<float>(zero + layout.code_base());
  const std::uint16_t bits = f32_to_bf16(based);
  LLM_TP_CHECK(bf16_to_f32(bits) == based, "a zero point that bf16 does not hold");
  return bits;
}

/// The factors of one row in a group that begins at `group`.
void put_factors(const BlockLayout& layout, const Block& block, std::int64_t row, std::byte* group) {
  const std::int64_t r = row % 8, upper = row / 8;
  const auto put = [&](std::int64_t at, auto number) { std::memcpy(group + at, &number, sizeof number); };
  if (layout.float_d)
    put(r * 8 + upper * 4, block.d);
  else
    put(r * layout.d_bytes() + upper * 2, f32_to_f16(block.d));
  if (layout.has_dmin) put(r * 8 + 4 + upper * 2, f32_to_f16(block.dmin));
  if (layout.has_zeros) put(layout.zeros_at() + r * 4 + upper * 2, zero_point(layout, -block.offset));
  for (int run = 0; layout.run != 0 && run * layout.run < block.elements; ++run) {
    const int column = run * layout.run;
    const std::int64_t at = layout.runs_at() + column / 32 * 32 + r * 4 + column % 32 / 16 * 2 + upper;
    const auto i = static_cast<std::size_t>(run);
    put(at, static_cast<std::uint8_t>(block.scale[i] + 128));
    if (layout.has_dmin) put(at + 2, block.minimum[i]);
  }
}

/// A tile row of a block format. file_rows: 16 rows of `stored` bytes.
void pack_blocks(DType dtype, const TileLayout& layout, const std::byte* file_rows, std::int64_t stored,
                 std::byte* out) {
  const BlockLayout blocks = block_layout(dtype);
  const std::int64_t units_of_block = block_elements(dtype) / 32;
  Block block;
  for (std::int64_t r = 0; r < 16; ++r) {
    for (std::int64_t b = 0; b < layout.units() / units_of_block; ++b) {
      take_apart(dtype, file_rows + r * stored + b * block_bytes(dtype), block);
      put_factors(blocks, block, r, out + layout.units() * blocks.code_bytes() + b * blocks.group_bytes());
      // Codes as they are stored; those with a zero point of their own stay as they are.
      const int shift = blocks.has_zeros ? 0 : blocks.zero + block.offset;
      for (std::int64_t u = 0; u < units_of_block; ++u) {
        std::byte* const unit = out + (b * units_of_block + u) * blocks.code_bytes();
        const std::int8_t* const codes = block.code.data() + u * 32;
        for (std::int64_t c = 0; c < 4; ++c)
          for (std::int64_t i = 0; i < 16; ++i) {
            const std::int64_t lane = r % 8 * 4 + c, in_tile = i % 8;
            if (row_of(lane, in_tile) != r) continue;
            const std::int64_t column = i / 8 * kTileColumns + column_of(lane, in_tile);
            put_code(blocks, lane, i, static_cast<unsigned>(codes[column] + shift), unit);
          }
      }
    }
  }
}

/// A tile row of plain numbers, likewise.
void pack_numbers(DType dtype, const TileLayout& layout, const std::byte* file_rows, std::int64_t stored,
                  std::byte* out) {
  const std::int64_t size = block_bytes(dtype);
  for (std::size_t leaf = 0; leaf + 1 < layout.leaf_units.size(); ++leaf) {
    const std::int64_t end = layout.leaf_columns[leaf + 1];
    std::int64_t column = layout.leaf_columns[leaf];
    for (std::int64_t unit = layout.leaf_units[leaf]; unit < layout.leaf_units[leaf + 1]; ++unit) {
      std::byte* const to = out + unit * kTileNumbers * size;
      for (std::int64_t lane = 0; lane < kLanes; ++lane)
        for (std::int64_t i = 0; i < 8; ++i) {
          const std::int64_t r = row_of(lane, i), c = column + column_of(lane, i);
          if (c < end)
            std::memcpy(to + place_of(dtype, lane, i) * size, file_rows + r * stored + c * size,
                        static_cast<std::size_t>(size));
        }
      column += kTileColumns;
    }
  }
}

}  // namespace

TileLayout::TileLayout(const WeightSpec& spec)
    : tiles_per_unit(is_quantised(spec.dtype) ? 2 : 1), tile_rows((spec.rows + 15) / 16) {
  const BlockLayout blocks = block_layout(spec.dtype);
  const bool plain = spec.dtype == DType::kF32 || spec.dtype == DType::kF16 || spec.dtype == DType::kBF16;
  if (!plain && blocks.code_bits == 0) refuse(spec.dtype);
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
  const int elements = block_elements(spec.dtype);
  row_bytes_ = is_quantised(spec.dtype)
                   ? units() * blocks.code_bytes() + units() * 32 / elements * blocks.group_bytes()
                   : units() * kTileNumbers * block_bytes(spec.dtype);
}

void pack_tile_row(const WeightSpec& spec, const TileLayout& layout, const RowReader& read,
                   std::int64_t tile_row, std::byte* out) {
  std::memset(out, 0, static_cast<std::size_t>(layout.row_bytes()));
  const std::int64_t stored = row_bytes(spec.dtype, spec.columns());
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
  if (is_quantised(spec.dtype))
    pack_blocks(spec.dtype, layout, file_rows.data(), stored, out);
  else
    pack_numbers(spec.dtype, layout, file_rows.data(), stored, out);
}

}  // namespace llm_tp

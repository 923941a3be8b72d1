#include "kernels/cuda/cuda_weight.h"

#include <vector_types.h>

#include <algorithm>

#include "kernels/cuda/block_layout.h"

namespace llm_tp {
namespace {

/// The tables of DeviceWeight as they lie in memory, one after the other.
struct Tables {
  std::vector<int2> steps, roots;
  std::vector<std::int32_t> leaf_units;
  int deepest_level = 0;

  Tables(const WeightSpec& spec, const TileLayout& layout, const std::vector<TreeRoot>& tree_roots)
      : leaf_units(layout.leaf_units) {
    for (std::size_t leaf = 0; leaf + 1 < leaf_units.size(); ++leaf) {
      std::int32_t column = layout.leaf_columns[leaf];
      for (std::int64_t step = std::int64_t{leaf_units[leaf]} * layout.tiles_per_unit;
           step < std::int64_t{leaf_units[leaf + 1]} * layout.tiles_per_unit; ++step) {
        steps.push_back({column, std::clamp(layout.leaf_columns[leaf + 1] - column, 0, 16)});
        column += 16;
      }
    }
    for (const TreeRoot& root : tree_roots) {
      roots.push_back({static_cast<int>(root.begin - spec.leaves.begin), root.level});
      deepest_level = std::max(deepest_level, root.level);
    }
  }
  std::size_t bytes() const { return (steps.size() + roots.size()) * sizeof(int2) + leaf_units.size() * 4; }
};

/// All of a DeviceWeight but where it lies.
DeviceWeight describe(const WeightSpec& spec, const TileLayout& layout, const Tables& tables) {
  DeviceWeight device;
  device.dtype = kernel_dtype(spec.dtype);
  device.row_bytes = layout.row_bytes();
  while (32 << device.group_shift < block_elements(spec.dtype)) ++device.group_shift;
  device.gated = spec.gated;
  device.rows = static_cast<std::int32_t>(spec.rows);
  device.units = static_cast<std::int32_t>(layout.units());
  device.leaves = static_cast<std::int32_t>(spec.leaves.size());
  device.root_count = static_cast<std::int32_t>(tables.roots.size());
  device.step_count = static_cast<std::int32_t>(tables.steps.size());
  device.deepest_level = tables.deepest_level;
  return device;
}

}  // namespace

std::int64_t CudaPackedWeight::bytes_of(const WeightSpec& spec) {
  const TileLayout layout(spec);
  if (layout.bytes() == 0) return 0;
  return layout.bytes() + static_cast<std::int64_t>(Tables(spec, layout, roots_of(spec.leaves)).bytes());
}

DeviceWeight CudaPackedWeight::geometry_of(const WeightSpec& spec) {
  const TileLayout layout(spec);
  return layout.bytes() == 0 ? DeviceWeight{}
                             : describe(spec, layout, Tables(spec, layout, roots_of(spec.leaves)));
}

CudaPackedWeight::CudaPackedWeight(const WeightSpec& spec, const RowReader& read, ThreadPool& pool,
                                   UploadPipe& pipe, const std::function<DeviceBuffer(std::size_t)>& allocate)
    : PackedWeight(spec) {
  LLM_TP_CHECK(!spec.gated || spec.rows % 2 == 0, "gates of another number than what they are for");
  const TileLayout layout(spec);
  if (layout.bytes() == 0) return;
  const Tables tables(spec, layout, roots());
  tiles_ = allocate(static_cast<std::size_t>(layout.bytes()));
  tables_ = allocate(tables.bytes());

  device_ = describe(spec, layout, tables);
  std::byte* to = tables_.data();
  const auto place = [&](const auto& table) {
    std::byte* const at = to;
    pipe.copy(at, std::as_bytes(std::span(table)));
    to += table.size() * sizeof(table[0]);
    return at;
  };
  device_.steps = reinterpret_cast<const int2*>(place(tables.steps));
  device_.roots = reinterpret_cast<const int2*>(place(tables.roots));
  device_.leaf_units = reinterpret_cast<const std::int32_t*>(place(tables.leaf_units));
  device_.tiles = reinterpret_cast<const unsigned char*>(tiles_.data());
  const int unit_columns = layout.tiles_per_unit * 16;
  for (const int2& root : tables.roots) {
    const auto first = static_cast<std::size_t>(root.x), leaves = std::size_t{1} << root.y;
    padded_columns_.push_back({std::int64_t{layout.leaf_units[first]} * unit_columns,
                               std::int64_t{layout.leaf_units[first + leaves]} * unit_columns});
  }

  const std::int64_t together =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(UploadPipe::kBufferBytes) / layout.row_bytes());
  for (std::int64_t first = 0; first < layout.tile_rows; first += together) {
    const std::int64_t count = std::min(together, layout.tile_rows - first);
    std::byte* const packed = pipe.next(static_cast<std::size_t>(count * layout.row_bytes()));
    pool.run(static_cast<int>(count), [&](int i, int) {
      pack_tile_row(spec, layout, read, first + i, packed + i * layout.row_bytes());
    });
    pipe.send(tiles_.data() + first * layout.row_bytes(),
              static_cast<std::size_t>(count * layout.row_bytes()));
  }
}

}  // namespace llm_tp

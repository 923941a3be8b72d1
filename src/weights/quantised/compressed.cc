#include "weights/quantised/integers.h"

// compressed-tensors, integers [rows, columns]:
//   pack-quantized  weight_packed I32 [rows, columns / n], n = 32 / bits neighbouring columns in a word,
//   lowest
//                   bits first, holding q + 2^(bits - 1); weight_shape I64 [2]
//   int-quantized   weight I8 [rows, columns]
//   weight_scale    [rows, groups], [rows, 1], [rows] or [1]
//   weight_zero_point  absent where symmetric; packed: I32 [rows / n, groups], n neighbouring rows in a word;
//                   else I8 [rows, groups]
//   weight_g_idx    I32 [columns] where the columns were quantised in another order; -1: they were not
// w = scale * (q - zero). Float weights are F8_E4M3: fp8.cc.

namespace llm_tp {
namespace {

/// Scales and zero points; `words`: zero points are packed like the codes.
struct Grid {
  StoredFloats scales;
  std::optional<StoredTensor> zeros;
  std::int64_t rows = 0, groups = 0;
  int bits = 8;
  bool words = false, one_row = false;

  float scale(std::int64_t row, std::int64_t group) const noexcept {
    return scales.at((one_row ? 0 : row * groups) + group);
  }
  int zero(std::int64_t row, std::int64_t group) const noexcept {
    if (!zeros) return 0;
    if (!words) return zeros->at<std::int8_t>((one_row ? 0 : row * groups) + group);
    const std::int64_t n = 32 / bits;
    return field(zeros->at<std::uint32_t>(row / n * groups + group), row % n, bits) - (1 << (bits - 1));
  }
};

struct PackedLayoutOfRows {
  StoredTensor codes;
  Grid grid;
  std::int64_t words;  // a row
  int code(std::int64_t row, std::int64_t column) const noexcept {
    const std::int64_t n = 32 / grid.bits;
    const int stored = field(codes.at<std::uint32_t>(row * words + column / n), column % n, grid.bits);
    return grid.bits == 8 ? stored - 128 : stored;
  }
  int offset(std::int64_t row, std::int64_t group) const noexcept {
    return -grid.zero(row, group) - (grid.bits == 8 ? 0 : 8);
  }
  float scale(std::int64_t row, std::int64_t group) const noexcept { return grid.scale(row, group); }
};

struct BytesOfRows {
  StoredTensor codes;
  Grid grid;
  std::int64_t columns;
  int code(std::int64_t row, std::int64_t column) const noexcept {
    return codes.at<std::int8_t>(row * columns + column);
  }
  int offset(std::int64_t row, std::int64_t group) const noexcept { return -grid.zero(row, group); }
  float scale(std::int64_t row, std::int64_t group) const noexcept { return grid.scale(row, group); }
};

Grid read_grid(const QuantisationConfig& config, const TensorFinder& find, const std::string& module,
               std::int64_t rows, bool words) {
  Grid grid;
  grid.scales = StoredFloats(require_tensor(find, module + ".weight_scale", "F16 BF16 F32"));
  const StoredTensor& scales = grid.scales.tensor();
  grid.rows = rows;
  grid.groups = scales.extent(1);
  grid.bits = config.bits;
  grid.words = words;
  grid.one_row = scales.extent(0) == 1 && rows != 1;
  if (scales.shape.size() > 2 || (scales.extent(0) != rows && !(grid.one_row && grid.groups == 1)))
    refuse_tensor(scales, "is neither one scale nor some for each of " + std::to_string(rows) + " rows");
  if (find(module + ".weight_zero_point")) {
    grid.zeros = require_tensor(find, module + ".weight_zero_point", words ? "I32" : "I8");
    const std::int64_t n = 32 / config.bits;
    const std::int64_t lines = words ? (rows + n - 1) / n : scales.extent(0);
    if (grid.zeros->extent(0) != lines || grid.zeros->extent(1) != grid.groups)
      refuse_tensor(*grid.zeros, "does not have a zero point for each scale");
  }
  return grid;
}

/// nullopt where the order is that of the columns.
std::optional<StoredTensor> order_of(const TensorFinder& find, const std::string& module) {
  if (!find(module + ".weight_g_idx")) return std::nullopt;
  StoredTensor order = require_tensor(find, module + ".weight_g_idx", "I32");
  if (order.shape.size() == 1 && order.extent(0) > 0 && order.at<std::int32_t>(0) == -1) return std::nullopt;
  return order;
}

}  // namespace

std::unique_ptr<QuantisedMatrix> make_compressed(const QuantisationConfig& config, const TensorFinder& find,
                                                 const std::string& module) {
  const bool packed = find(module + ".weight_packed").has_value();
  if (!packed) {
    const auto plain = find(module + ".weight");
    if (!plain || plain->dtype != "I8") return make_fp8(config, find, module);
  }
  StoredTensor codes = packed ? require_tensor(find, module + ".weight_packed", "I32")
                              : require_tensor(find, module + ".weight", "I8");
  require_matrix(codes);
  const std::int64_t rows = codes.extent(0), words = codes.extent(1);
  const std::int64_t columns = packed ? words * (32 / config.bits) : words;
  if (!packed && config.bits != 8)
    refuse_tensor(
        codes, "holds 8-bit integers, " + config.where + " states " + std::to_string(config.bits) + " bits");
  if (packed) {
    const StoredTensor shape = require_tensor(find, module + ".weight_shape", "I64 I32");
    require_shape(shape, {2});
    const auto stated = [&](std::int64_t i) {
      return shape.dtype == "I64" ? shape.at<std::int64_t>(i) : std::int64_t{shape.at<std::int32_t>(i)};
    };
    if (stated(0) != rows || stated(1) != columns)
      refuse_tensor(shape, "states " + std::to_string(stated(0)) + " x " + std::to_string(stated(1)) +
                               ", the packed words hold " + std::to_string(rows) + " x " +
                               std::to_string(columns));
  }
  Grid grid = read_grid(config, find, module, rows, packed);
  ColumnGroups of =
      ColumnGroups::check(config, grid.scales.tensor(), columns, grid.groups, order_of(find, module));
  std::vector parts{codes.data, grid.scales.tensor().data};
  std::string name = codes.name;
  if (packed)
    return std::make_unique<IntegerMatrix<PackedLayoutOfRows>>(
        std::move(name), rows, config.bits, std::move(of),
        PackedLayoutOfRows{std::move(codes), std::move(grid), words}, std::move(parts));
  return std::make_unique<IntegerMatrix<BytesOfRows>>(std::move(name), rows, 8, std::move(of),
                                                      BytesOfRows{std::move(codes), std::move(grid), columns},
                                                      std::move(parts));
}

}  // namespace llm_tp

#include <algorithm>

#include "weights/matrix_slice.h"
#include "weights/quantised/matrix.h"

// F8_E4M3 weights [rows, columns] with scales:
//   weight_scale      [1], [] (the tensor), [rows] or [rows, 1] (each row), [rows, groups] (columns of a row)
//   weight_scale_inv  [rows / B, columns / B] rounded up: blocks of B x B, as DeepSeek and Qwen store them
// w = scale * q in both: the name of the second notwithstanding.

namespace llm_tp {
namespace {

class Fp8Matrix final : public QuantisedMatrix {
 public:
  /// One scale for row_block x column_block numbers; the last blocks may be cut short.
  Fp8Matrix(StoredTensor codes, StoredFloats scales, std::int64_t row_block, std::int64_t column_block)
      : codes_(std::move(codes)),
        scales_(std::move(scales)),
        row_block_(row_block),
        column_block_(column_block) {
    const std::int64_t rows = codes_.extent(0), columns = codes_.extent(1);
    scale_columns_ = (columns + column_block - 1) / column_block;
    const std::int64_t block = block_of(columns, column_block);
    if (block == 0)
      refuse_tensor(codes_, "has rows of " + std::to_string(columns) + " numbers with a scale for " +
                                std::to_string(column_block) + ", wanted multiples of 32");
    info_ = {codes_.name,
             block == 128  ? DType::kFp8G128
             : block == 64 ? DType::kFp8G64
                           : DType::kFp8G32,
             rows, columns};
    parts_ = {codes_.data, scales_.tensor().data};
  }

  void read(Range rows, Range columns, std::byte* out) const override {
    check_slice(info_, rows, columns);
    const std::int64_t block = block_elements(info_.dtype);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      for (std::int64_t at = columns.begin; at < columns.end; at += block) {
        const float scale = scales_.at(row / row_block_ * scale_columns_ + at / column_block_);
        std::memcpy(out, &scale, 4);
        std::memcpy(out + 4, codes_.data.data() + row * info_.columns + at, static_cast<std::size_t>(block));
        out += 4 + block;
      }
    }
  }

 private:
  StoredTensor codes_;
  StoredFloats scales_;
  std::int64_t row_block_, column_block_, scale_columns_ = 1;
};

}  // namespace

std::unique_ptr<QuantisedMatrix> make_fp8(const QuantisationConfig& config, const TensorFinder& find,
                                          const std::string& module) {
  const auto stored = find(module + ".weight");
  if (!stored || stored->dtype != "F8_E4M3") return nullptr;
  require_matrix(*stored);
  const std::int64_t rows = stored->extent(0), columns = stored->extent(1);
  const bool inverse = find(module + ".weight_scale_inv").has_value();
  StoredTensor scales =
      require_tensor(find, module + (inverse ? ".weight_scale_inv" : ".weight_scale"), "F32 BF16 F16");
  const std::int64_t lines = scales.extent(0), groups = scales.extent(1);
  std::int64_t row_block = lines == 1 ? rows : 1, column_block = columns;
  bool fits = scales.shape.size() <= 2 && (lines == 1 || lines == rows);
  if (config.block_rows > 0) {
    row_block = config.block_rows, column_block = config.block_columns;
    fits = scales.shape.size() == 2 && lines == (rows + row_block - 1) / row_block &&
           groups == (columns + column_block - 1) / column_block;
  } else if (config.group > 0) {
    column_block = config.group;
    fits = fits && columns % column_block == 0 && groups == columns / column_block;
  } else {
    fits = fits && groups == 1;
  }
  if (!fits)
    refuse_tensor(scales, "has " + std::to_string(lines) + " x " + std::to_string(groups) + " scales for " +
                              std::to_string(rows) + " x " + std::to_string(columns) +
                              " numbers, which is not what " + config.where + " states");
  return std::make_unique<Fp8Matrix>(*stored, StoredFloats(std::move(scales)), row_block, column_block);
}

}  // namespace llm_tp

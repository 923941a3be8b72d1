#include "weights/quantised/integers.h"

// AWQ (Lin et al. 2023), version gemm, 4 bits:
//   qweight I32 [columns, rows / 8]   eight rows in a word: nibble i, from the low end, is row
//                                     [0, 2, 4, 6, 1, 3, 5, 7][i]
//   qzeros  I32 [groups, rows / 8]    likewise
//   scales  F16 [groups, rows]
// w = scale * (q - zero)

namespace llm_tp {
namespace {

struct AwqLayout {
  StoredTensor codes, zeros;
  StoredFloats scales;
  std::int64_t rows;

  static int nibble_of(const StoredTensor& words, std::int64_t line, std::int64_t row,
                       std::int64_t rows) noexcept {
    constexpr int kPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // the inverse of the order above
    return field(words.at<std::uint32_t>(line * (rows / 8) + row / 8), kPlace[row % 8], 4);
  }
  int code(std::int64_t row, std::int64_t column) const noexcept {
    return nibble_of(codes, column, row, rows);
  }
  int offset(std::int64_t row, std::int64_t group) const noexcept {
    return -nibble_of(zeros, group, row, rows);
  }
  float scale(std::int64_t row, std::int64_t group) const noexcept { return scales.at(group * rows + row); }
};

}  // namespace

std::unique_ptr<QuantisedMatrix> make_awq(const QuantisationConfig& config, const TensorFinder& find,
                                          const std::string& module) {
  if (!find(module + ".qweight")) return nullptr;
  StoredTensor codes = require_tensor(find, module + ".qweight", "I32");
  StoredTensor zeros = require_tensor(find, module + ".qzeros", "I32");
  StoredTensor scales = require_tensor(find, module + ".scales", "F16 BF16 F32");
  require_matrix(codes);
  const std::int64_t columns = codes.extent(0), rows = codes.extent(1) * 8, groups = scales.extent(0);
  require_shape(scales, {groups, rows});
  require_shape(zeros, {groups, rows / 8});
  ColumnGroups of = ColumnGroups::check(config, scales, columns, groups, std::nullopt);
  std::vector parts{codes.data, zeros.data, scales.data};
  std::string name = codes.name;
  return std::make_unique<IntegerMatrix<AwqLayout>>(
      std::move(name), rows, 4, std::move(of),
      AwqLayout{std::move(codes), std::move(zeros), StoredFloats(std::move(scales)), rows}, std::move(parts));
}

}  // namespace llm_tp

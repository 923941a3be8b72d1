#include "weights/quantised/matrix.h"

#include "weights/quantised/integers.h"

namespace llm_tp {

std::int64_t block_of(std::int64_t columns, std::int64_t group) noexcept {
  for (const std::int64_t block : {128, 64, 32})
    if (columns % block == 0 && group % block == 0) return block;
  return 0;
}

std::unique_ptr<QuantisedMatrix> make_quantised_matrix(const QuantisationConfig& config,
                                                       const TensorFinder& find, const std::string& module) {
  using Method = QuantisationConfig::Method;
  switch (config.method) {
    case Method::kGptq:
      return make_gptq(config, find, module);
    case Method::kAwq:
      return make_awq(config, find, module);
    case Method::kFp8:
      return make_fp8(config, find, module);
    case Method::kCompressedTensors:
      return make_compressed(config, find, module);
  }
  return nullptr;
}

ColumnGroups ColumnGroups::check(const QuantisationConfig& config, const StoredTensor& scales,
                                 std::int64_t columns, std::int64_t groups,
                                 const std::optional<StoredTensor>& g_idx) {
  const std::int64_t group = config.group == 0 ? columns : config.group;
  if (columns < 1 || groups != (columns + group - 1) / group)
    refuse_tensor(scales, "has " + std::to_string(groups) + " groups of columns; " + std::to_string(columns) +
                              " columns in groups of " + std::to_string(group) + " (" + config.where +
                              ") are not that many");
  ColumnGroups result{columns, groups, nullptr};
  if (!g_idx) {
    if (columns % group != 0)
      refuse_tensor(scales, "belongs to rows of " + std::to_string(columns) +
                                " columns, wanted whole groups of " + std::to_string(group));
  } else {
    require_shape(*g_idx, {columns});
    auto list = std::make_shared<std::vector<std::int32_t>>();
    bool in_order = columns % group == 0;
    for (std::int64_t k = 0; k < columns; ++k) {
      const auto index = g_idx->at<std::int32_t>(k);
      if (index < 0 || index >= groups)
        refuse_tensor(*g_idx, "puts column " + std::to_string(k) + " into group " + std::to_string(index) +
                                  " of " + std::to_string(groups));
      in_order = in_order && index == k / group;
      list->push_back(index);
    }
    if (!in_order) result.of_column = std::move(list);
  }
  if (!result.of_column && block_of(columns, group) == 0)
    refuse_tensor(scales, "belongs to rows of " + std::to_string(columns) + " columns in groups of " +
                              std::to_string(group) + ", wanted multiples of 32");
  return result;
}

DType ColumnGroups::dtype(int bits) const noexcept {
  const bool four = bits == 4;
  if (of_column) return four ? DType::kInt4Columns : DType::kInt8Columns;
  switch (block_of(columns, columns / groups)) {
    case 128:
      return four ? DType::kInt4G128 : DType::kInt8G128;
    case 64:
      return four ? DType::kInt4G64 : DType::kInt8G64;
    default:
      return four ? DType::kInt4G32 : DType::kInt8G32;
  }
}

}  // namespace llm_tp

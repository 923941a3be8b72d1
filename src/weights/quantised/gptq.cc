#include "weights/quantised/integers.h"

// GPTQ (Frantar et al. 2022) as AutoGPTQ and GPTQModel store it:
//   qweight I32 [columns / n, rows]   n = 32 / bits neighbouring columns of a row in a word, lowest bits
//   first qzeros  I32 [groups, rows / n]    n neighbouring rows in a word; the first format holds zero - 1
//   scales  F16 [groups, rows]
//   g_idx   I32 [columns]             the group of each column
// w = scale * (q - zero)

namespace llm_tp {
namespace {

template <int Bits>
struct GptqLayout {
  static constexpr std::int64_t kFields = 32 / Bits;
  static constexpr int kShift = Bits == 8 ? 128 : 0;  // codes of 8 bits are kept as int8
  StoredTensor codes, zeros;
  StoredFloats scales;
  std::int64_t rows;
  int less;  // what the stored zero points lack

  int code(std::int64_t row, std::int64_t column) const noexcept {
    return field(codes.at<std::uint32_t>(column / kFields * rows + row), column % kFields, Bits) - kShift;
  }
  int offset(std::int64_t row, std::int64_t group) const noexcept {
    const auto word = zeros.at<std::uint32_t>(group * (rows / kFields) + row / kFields);
    return kShift - field(word, row % kFields, Bits) - less;
  }
  float scale(std::int64_t row, std::int64_t group) const noexcept { return scales.at(group * rows + row); }
};

template <int Bits>
std::unique_ptr<QuantisedMatrix> make(const QuantisationConfig& config, const TensorFinder& find,
                                      const std::string& module) {
  constexpr std::int64_t kFields = 32 / Bits;
  StoredTensor codes = require_tensor(find, module + ".qweight", "I32");
  StoredTensor zeros = require_tensor(find, module + ".qzeros", "I32");
  StoredTensor scales = require_tensor(find, module + ".scales", "F16 BF16 F32");
  require_matrix(codes);
  std::optional<StoredTensor> g_idx;
  if (find(module + ".g_idx")) g_idx = require_tensor(find, module + ".g_idx", "I32");
  const std::int64_t columns = codes.extent(0) * kFields, rows = codes.extent(1), groups = scales.extent(0);
  require_shape(scales, {groups, rows});
  require_shape(zeros, {groups, rows / kFields});
  if (rows % kFields != 0) refuse_tensor(codes, "has rows that do not fill the words of its zero points");
  ColumnGroups of = ColumnGroups::check(config, scales, columns, groups, g_idx);
  std::vector parts{codes.data, zeros.data, scales.data};
  std::string name = codes.name;
  return std::make_unique<IntegerMatrix<GptqLayout<Bits>>>(
      std::move(name), rows, Bits, std::move(of),
      GptqLayout<Bits>{std::move(codes), std::move(zeros), StoredFloats(std::move(scales)), rows,
                       config.zeros_less_one ? 1 : 0},
      std::move(parts));
}

}  // namespace

std::unique_ptr<QuantisedMatrix> make_gptq(const QuantisationConfig& config, const TensorFinder& find,
                                           const std::string& module) {
  if (!find(module + ".qweight")) return nullptr;
  return config.bits == 4 ? make<4>(config, find, module) : make<8>(config, find, module);
}

}  // namespace llm_tp

#pragma once
#include <algorithm>
#include <utility>

#include "weights/matrix_slice.h"
#include "weights/quantised/matrix.h"

namespace llm_tp {

/// Which columns share a scale: groups of equal size in order, or (act order) any.
struct ColumnGroups {
  std::int64_t columns = 0, groups = 0;
  std::shared_ptr<const std::vector<std::int32_t>> of_column;  // empty: column / (columns / groups)
  std::int64_t at(std::int64_t column) const noexcept {
    return of_column ? (*of_column)[static_cast<std::size_t>(column)] : column / (columns / groups);
  }

  /// config.group against the number of groups that the tensors have; g_idx, where there is one, must stay
  /// within them. Errors: kBadData.
  static ColumnGroups check(const QuantisationConfig& config, const StoredTensor& scales,
                            std::int64_t columns, std::int64_t groups,
                            const std::optional<StoredTensor>& g_idx);
  /// The dtype of the rows: blocks where whole blocks share a scale, else a scale a column.
  DType dtype(int bits) const noexcept;
};

/// A matrix of 4 or 8-bit integers. Layout says where they lie:
///   int code(row, column)      the number's code: 0 to 15, or -128 to 127
///   int offset(row, group)     what is added to the code: minus the zero point
///   float scale(row, group)
template <class Layout>
class IntegerMatrix final : public QuantisedMatrix {
 public:
  IntegerMatrix(std::string name, std::int64_t rows, int bits, ColumnGroups groups, Layout layout,
                std::vector<std::span<const std::byte>> parts)
      : groups_(std::move(groups)), layout_(std::move(layout)), four_(bits == 4) {
    info_ = {std::move(name), groups_.dtype(bits), rows, groups_.columns};
    if (has_column_scales(info_.dtype)) info_.column_groups = groups_.of_column;
    parts_ = std::move(parts);
  }

  void read(Range rows, Range columns, std::byte* out) const override {
    check_slice(info_, rows, columns);
    const std::int64_t block = block_elements(info_.dtype);
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      for (std::int64_t at = columns.begin; at < columns.end; at += block) out = write(row, at, block, out);
  }

 private:
  /// One block as base/blocks/groups.cc has it.
  std::byte* write(std::int64_t row, std::int64_t first, std::int64_t block, std::byte* out) const {
    const std::int64_t group = groups_.at(first);
    const float scale = layout_.scale(row, group);
    const auto offset = static_cast<std::int16_t>(layout_.offset(row, group));
    std::memcpy(out, &scale, 4);
    std::memcpy(out + 4, &offset, 2);
    out += 6;
    if (four_ && block > 1) {
      for (std::int64_t k = first; k < first + block; k += 32)
        for (std::int64_t i = k; i < k + 16; ++i)
          *out++ = static_cast<std::byte>(layout_.code(row, i) | layout_.code(row, i + 16) << 4);
    } else {
      for (std::int64_t k = first; k < first + block; ++k)
        *out++ = static_cast<std::byte>(static_cast<std::uint8_t>(layout_.code(row, k)));
    }
    return out;
  }

  ColumnGroups groups_;
  Layout layout_;
  bool four_;
};

/// Field i of 32 / bits in a word, lowest bits first.
inline int field(std::uint32_t word, std::int64_t i, int bits) noexcept {
  return static_cast<int>(word >> (i * bits) & ((1u << bits) - 1));
}

}  // namespace llm_tp

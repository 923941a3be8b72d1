#include "weights/matrix_slice.h"

#include <cstring>

namespace llm_tp {

void check_slice(const WeightInfo& info, Range rows, Range columns) {
  const int block = block_elements(info.dtype);
  LLM_TP_CHECK(0 <= rows.begin && rows.begin <= rows.end && rows.end <= info.rows,
               "rows outside " + info.name);
  LLM_TP_CHECK(0 <= columns.begin && columns.begin <= columns.end && columns.end <= info.columns,
               "columns outside " + info.name);
  LLM_TP_CHECK(columns.begin % block == 0 && columns.end % block == 0, "columns cut a block of " + info.name);
}

void copy_slice(const WeightInfo& info, std::span<const std::byte> data, Range rows, Range columns,
                std::byte* out) {
  check_slice(info, rows, columns);
  const std::int64_t whole_row = row_bytes(info.dtype, info.columns);
  const std::int64_t part = row_bytes(info.dtype, columns.size());
  LLM_TP_CHECK(static_cast<std::int64_t>(data.size()) == whole_row * info.rows, "bytes of " + info.name);
  if (rows.empty() || columns.empty()) return;
  const std::byte* from = data.data() + rows.begin * whole_row + row_bytes(info.dtype, columns.begin);
  if (part == whole_row) {
    std::memcpy(out, from, static_cast<std::size_t>(rows.size() * whole_row));
    return;
  }
  for (std::int64_t row = 0; row < rows.size(); ++row)
    std::memcpy(out + row * part, from + row * whole_row, static_cast<std::size_t>(part));
}

}  // namespace llm_tp

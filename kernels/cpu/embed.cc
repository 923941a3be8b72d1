#include "kernels/cpu/embed.h"

#include <algorithm>

#include "kernels/cpu/linear.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/row_runs.h"

namespace llm_tp {

void embed(ThreadPool& pool, TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
           Range rows) {
  const std::int64_t width = table.spec().columns();
  LLM_TP_CHECK(out.rows() == std::ssize(tokens) && out.columns() == width, "embed: out is not [T, H]");
  LLM_TP_CHECK(table.spec().rows == rows.size(),
               "embed: the table does not hold the rows it is said to hold");
  const auto& packed = static_cast<const CpuPackedWeight&>(table);
  run_rows(pool, out.rows(), width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = out.row(t);
      const TokenId token = tokens[static_cast<std::size_t>(t)];
      if (!rows.contains(token)) {
        std::fill(row, row + width, 0.0f);
        continue;
      }
      unpack_row(packed, token - rows.begin, row);
      // -0 becomes +0, as it does where the rows of several ranks are summed.
      for (std::int64_t i = 0; i < width; ++i) row[i] = row[i] + 0.0f;
    }
  });
}

}  // namespace llm_tp

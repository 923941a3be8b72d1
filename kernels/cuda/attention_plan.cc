#include <algorithm>

#include "kernels/cuda/attention.h"

namespace llm_tp {

AttentionPlan plan_attention(const Batch& batch, const HeadMap& heads, const AttentionOptions& options,
                             int block_rows) {
  AttentionPlan plan;
  std::int32_t first_page = 0;
  for (const BatchSlice& slice : batch.slices) {
    const std::int64_t last = std::int64_t{slice.first_position} + slice.rows - 1;
    const std::int64_t first =
        options.window > 0 ? std::max<std::int64_t>(0, slice.first_position + 1 - options.window) : 0;
    const auto first_chunk = static_cast<std::int32_t>(first / kChunkKeys);
    const auto chunks = static_cast<std::int32_t>(last / kChunkKeys - first_chunk + 1);
    const std::int32_t queries = slice.rows * heads.group;
    AttentionItem item{slice.first_row,
                       slice.rows,
                       slice.first_position,
                       first_page,
                       slice.pages_before,
                       0,
                       first_chunk,
                       1,
                       -1};
    if (queries <= block_rows && chunks > 1) {
      plan.merges.push_back({slice.first_row, slice.rows, plan.partials, chunks});
      for (std::int32_t c = 0; c < chunks; ++c) {
        item.first_chunk = first_chunk + c;
        item.partial = plan.partials++;
        plan.items.push_back(item);
      }
    } else {
      for (std::int32_t query = 0; query < queries; query += block_rows) {
        item.first_query = query;
        plan.items.push_back(item);
      }
    }
    first_page += static_cast<std::int32_t>(slice.pages.size());
  }
  return plan;
}

}  // namespace llm_tp

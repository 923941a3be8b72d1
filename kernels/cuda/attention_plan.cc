#include <algorithm>

#include "kernels/cuda/attention.h"

namespace llm_tp {
namespace {

/// The chunks that the rows of a slice see: [first, first + count).
struct SeenChunks {
  std::int32_t first, count;
};
SeenChunks chunks_of(const BatchSlice& slice, std::int64_t window) {
  const std::int64_t last = std::int64_t{slice.first_position} + slice.rows - 1;
  const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, slice.first_position + 1 - window) : 0;
  const auto first_chunk = static_cast<std::int32_t>(first / kChunkKeys);
  return {first_chunk, static_cast<std::int32_t>(last / kChunkKeys - first_chunk + 1)};
}

/// Four steps an octave, so that few numbers of blocks occur: 1 to 8, 10, 12, 14, 16, 20…
std::int64_t rounded_up(std::int64_t count) {
  std::int64_t step = 1;
  while (count > 8 * step) step *= 2;
  return (count + step - 1) / step * step;
}

/// Slices of more chunks than this are cut, one block a chunk: the shortest, of those of few rows, whose
/// partials have room together.
std::int32_t longest_whole(const Batch& batch, const AttentionPlanOptions& options,
                           std::int32_t partial_rows) {
  std::vector<std::int32_t> counts;
  for (const BatchSlice& slice : batch.slices)
    if (slice.rows * options.group <= options.block_rows)
      counts.push_back(chunks_of(slice, options.window).count);
  std::sort(counts.begin(), counts.end());
  std::int64_t room = options.most_partial_rows / std::max(partial_rows, 1);
  for (std::size_t i = counts.size(); i > 0; --i) {
    room -= counts[i - 1];
    if (room < 0) return counts[i - 1];
  }
  return 1;
}

}  // namespace

std::int64_t most_items(std::int64_t rows, std::int64_t slices, const AttentionPlanOptions& options) {
  const std::int64_t blocks = rows * options.group / options.block_rows + slices;
  return rounded_up(blocks + options.most_partial_rows / options.group);
}

AttentionPlan plan_attention(const Batch& batch, const AttentionPlanOptions& options) {
  AttentionPlan plan;
  for (const BatchSlice& slice : batch.slices) {
    const std::int32_t queries = slice.rows * options.group;
    if (queries <= options.block_rows) plan.partial_rows = std::max(plan.partial_rows, queries);
    if (queries > kFewRows) plan.has_few_rows = false;
  }
  const std::int32_t whole = longest_whole(batch, options, plan.partial_rows);
  std::int32_t first_page = 0;
  for (const BatchSlice& slice : batch.slices) {
    const SeenChunks chunks = chunks_of(slice, options.window);
    const std::int32_t queries = slice.rows * options.group;
    AttentionItem item{slice.first_row,
                       slice.rows,
                       slice.first_position,
                       first_page,
                       slice.pages_before,
                       0,
                       chunks.first,
                       1,
                       -1};
    if (queries <= options.block_rows && chunks.count > whole) {
      plan.merges.push_back({slice.first_row, slice.rows, plan.partials, chunks.count});
      for (std::int32_t c = 0; c < chunks.count; ++c) {
        item.first_chunk = chunks.first + c;
        item.partial = plan.partials++;
        plan.items.push_back(item);
      }
    } else {
      // The last, which see most keys, begin first, so that none of them is left alone at the end.
      for (std::int32_t blocks = (queries + options.block_rows - 1) / options.block_rows; blocks > 0;
           --blocks) {
        item.first_query = (blocks - 1) * options.block_rows;
        plan.items.push_back(item);
      }
    }
    first_page += static_cast<std::int32_t>(slice.pages.size());
  }
  // Blocks of no rows end at once, so that a grid fits many steps.
  plan.items.resize(static_cast<std::size_t>(rounded_up(std::ssize(plan.items))));
  if (!plan.merges.empty()) plan.merges.resize(batch.slices.size());
  return plan;
}

}  // namespace llm_tp

#include "kernels/cuda/scratch_sizes.h"

#include <algorithm>

#include "kernels/cuda/cuda_kv_cache.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {

AttentionPlanOptions attention_options(const DeviceCache& cache, const HeadMap& heads, std::int64_t window,
                                       std::size_t shared_bytes_at_most) {
  AttentionPlanOptions options;
  options.group = heads.group;
  options.window = window;
  options.block_rows = attention_block_rows(heads.head_dim, cache.dtype, shared_bytes_at_most);
  const std::int64_t row_bytes = partial_sum_bytes(1, cache) + partial_state_bytes(1, cache);
  options.most_partial_rows = kPartialBytes / std::max<std::int64_t>(row_bytes, 1);
  return options;
}

AttentionPlanOptions attention_options_of(const CacheNeeds& cache, const StepLimits& limits,
                                          std::size_t shared_bytes_at_most) {
  AttentionPlanOptions options = attention_options(CudaKvCache::geometry_of(cache.shape), cache.heads,
                                                   cache.window, shared_bytes_at_most);
  const std::int64_t chunks = limits.positions / kChunkKeys + 1;
  options.most_partial_rows =
      std::min(options.most_partial_rows, limits.slices * chunks * options.block_rows);
  return options;
}

ScratchSizes ScratchSizes::of(const ScratchRules& rules, const StepLimits& limits,
                              std::span<const DeviceWeight> weights, std::span<const CacheNeeds> caches,
                              std::int64_t most_pairs) {
  ScratchSizes sizes;
  sizes.pipe = static_cast<std::int64_t>(UploadPipe::kBufferBytes);
  sizes.host_copy = limits.host_bytes;
  const std::int64_t own_rows =
      rules.library != nullptr ? std::min(limits.rows, kLibraryTokens) : limits.rows;
  const std::int64_t pairs = std::min(limits.listed_rows, most_pairs);
  for (const DeviceWeight& weight : weights) {
    sizes.pipe = std::max(sizes.pipe, weight.row_bytes);  // a row of tiles is packed into one buffer
    const std::int64_t few = std::max(std::min<std::int64_t>(own_rows, kFewTokens), pairs);
    sizes.operand = std::max({sizes.operand, operand_bytes(weight, own_rows, rules.part_count),
                              operand_bytes(weight, few, kOperandParts)});
    sizes.block_sums = std::max(sizes.block_sums, block_sum_bytes(weight, std::max(own_rows, pairs)));
  }
  if (rules.library != nullptr && limits.rows > kLibraryTokens)
    sizes.library = rules.library->sizes_for(weights, limits.rows);
  sizes.tokens = limits.rows * std::int64_t{sizeof(TokenId)};
  sizes.row_numbers = limits.listed_rows * std::int64_t{sizeof(std::int32_t)};
  sizes.row_weights = limits.listed_rows * std::int64_t{sizeof(float)};
  sizes.scores = CudaScoreReader::Sizes::of(limits.vocabulary_rows, limits.vocabulary_run);
  for (const CacheNeeds& cache : caches) {
    if (cache.shape.kv_heads == 0) continue;
    const DeviceCache device = CudaKvCache::geometry_of(cache.shape);
    const std::int64_t rows = attention_options_of(cache, limits, rules.shared_bytes).most_partial_rows;
    sizes.partial_sums = std::max(sizes.partial_sums, partial_sum_bytes(rows, device));
    sizes.partial_state = std::max(sizes.partial_state, partial_state_bytes(rows, device));
    sizes.copies =
        std::max(sizes.copies, std::min<std::int64_t>(cache.shape.pages, limits.rows + limits.slices) *
                                   std::int64_t{sizeof(int2)});
  }
  return sizes;
}

void ScratchSizes::widen(const ScratchSizes& other) {
  const auto larger = [](auto& mine, const auto& theirs) { mine = std::max(mine, theirs); };
  larger(operand, other.operand);
  larger(block_sums, other.block_sums);
  larger(partial_sums, other.partial_sums);
  larger(partial_state, other.partial_state);
  larger(tokens, other.tokens);
  larger(row_numbers, other.row_numbers);
  larger(row_weights, other.row_weights);
  larger(copies, other.copies);
  larger(library.operand, other.library.operand);
  larger(library.piece, other.library.piece);
  larger(scores.table, other.scores.table);
  larger(scores.scores, other.scores.scores);
  larger(scores.maxima, other.scores.maxima);
  larger(scores.states, other.scores.states);
  larger(scores.results, other.scores.results);
  larger(pipe, other.pipe);
  larger(host_copy, other.host_copy);
}

MemoryUse ScratchSizes::taken() const {
  MemoryUse use;
  const auto add = [&use](auto bytes) {
    use.device += static_cast<std::int64_t>(StreamMemory::taken_for(static_cast<std::size_t>(bytes)));
  };
  for (const std::int64_t bytes : {operand, block_sums, partial_sums, partial_state, tokens, row_numbers,
                                   row_weights, copies, library.operand, library.piece})
    add(bytes);
  for (const std::size_t bytes : {scores.table, scores.scores, scores.maxima, scores.states, scores.results})
    add(bytes);
  use.pinned = 2 * pipe + host_copy + static_cast<std::int64_t>(scores.results);
  return use;
}

}  // namespace llm_tp

#pragma once
#include <span>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_score_reader.h"
#include "kernels/cuda/library_products.h"
#include "kernels/model_needs.h"

namespace llm_tp {

/// Of partial sums and states of attention, together.
constexpr std::int64_t kPartialBytes = std::int64_t{64} << 20;

/// How attention over a cache is planned, with no more partials than kPartialBytes hold.
AttentionPlanOptions attention_options(const DeviceCache& cache, const HeadMap& heads, std::int64_t window,
                                       std::size_t shared_bytes_at_most);
/// The same, with no more partials than steps within the limits need.
AttentionPlanOptions attention_options_of(const CacheNeeds& cache, const StepLimits& limits,
                                          std::size_t shared_bytes_at_most);

/// What the sizes of a backend's scratch memory depend on beside the model.
struct ScratchRules {
  std::size_t shared_bytes = 0;              // that a block may have
  std::int32_t part_count = kOperandParts;   // of an operand for many tokens
  const LibraryProducts* library = nullptr;  // that multiplies more than kLibraryTokens tokens
};

/// Bytes that ops need for themselves in the largest steps, buffer by buffer: what reserve() of the backend
/// takes, and what the plan of memory counts.
struct ScratchSizes {
  std::int64_t operand = 0, block_sums = 0, partial_sums = 0, partial_state = 0;
  std::int64_t tokens = 0, row_numbers = 0, row_weights = 0, copies = 0;  // tables of a step
  LibraryProducts::Sizes library;
  CudaScoreReader::Sizes scores;
  std::int64_t pipe = 0, host_copy = 0;  // pinned; pipe: each of its two buffers

  /// weights: of all that were packed. most_pairs: of tokens and experts that are routed on the device.
  static ScratchSizes of(const ScratchRules& rules, const StepLimits& limits,
                         std::span<const DeviceWeight> weights, std::span<const CacheNeeds> caches,
                         std::int64_t most_pairs);
  /// The larger of each: buffers that several models use in turn.
  void widen(const ScratchSizes& other);
  MemoryUse taken() const;
};

}  // namespace llm_tp

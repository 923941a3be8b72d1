#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "schedule/sequence_table.h"

namespace llm_tp {

struct SchedulerLimits {
  std::int32_t step_tokens = 512;  // rows of a step
  std::int32_t page_tokens = 16;
  std::vector<CacheLimits> caches;        // of the main model, the furthest-seeing first
  std::vector<CacheLimits> draft_caches;  // of the draft model; none: there is none
  bool prefix_cache = false;              // prompts start from pages of earlier ones that began alike
  // That run at the same time; a request that may have more of its own runs alone.
  std::int64_t sequences = std::numeric_limits<std::int64_t>::max();

  /// Pages of a cache that one sequence holds at most, whatever its length.
  std::int64_t most_held_pages(const CacheLimits& cache) const noexcept;
  /// Positions that one sequence may have.
  std::int64_t most_positions() const noexcept;
  /// Of all caches of the main model.
  std::int64_t main_pages() const noexcept;
  const std::vector<CacheLimits>& caches_of(ModelSlot model) const noexcept {
    return model == ModelSlot::kMain ? caches : draft_caches;
  }
};

}  // namespace llm_tp

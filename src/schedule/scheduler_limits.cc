#include "schedule/scheduler_limits.h"

#include <algorithm>

#include "schedule/request.h"

namespace llm_tp {

std::int64_t SchedulerLimits::most_held_pages(const CacheLimits& cache) const noexcept {
  if (cache.lookback == 0) return RequestNeeds::kAll;
  // Positions [done - lookback, done + step_tokens), which may begin at the end of a page.
  return (std::int64_t{cache.lookback} + step_tokens + page_tokens - 2) / page_tokens + 1;
}

std::int64_t SchedulerLimits::most_positions() const noexcept {
  std::int64_t most = RequestNeeds::kAll;
  for (const CacheLimits& cache : caches)
    if (most_held_pages(cache) > cache.pages) most = std::min(most, std::int64_t{cache.pages} * page_tokens);
  return most;
}

std::int64_t SchedulerLimits::main_pages() const noexcept {
  std::int64_t pages = 0;
  for (const CacheLimits& cache : caches) pages += cache.pages;
  return pages;
}

}  // namespace llm_tp

#include "serve/recent_activity.h"

#include <algorithm>

namespace llm_tp {
namespace {
constexpr std::chrono::seconds kWindow{10}, kEvery{1};
}

void RecentActivity::add(Time now, const Sample& sample) {
  if (!kept_.empty() && now - kept_.back().time < kEvery) return;
  kept_.push_back({now, sample});
  while (now - kept_.front().time > kWindow) kept_.pop_front();
}

RecentActivity::Rates RecentActivity::rates(Time now, const Sample& sample) const {
  const auto first =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) { return now - kept.time <= kWindow; });
  Rates rates;
  if (first == kept_.end()) return rates;
  // Of a group that has just begun, the time since then, but no less than one sample's: the first step alone
  // says little.
  const double seconds =
      std::max(std::chrono::duration<double>(now - first->time), std::chrono::duration<double>(kEvery))
          .count();
  const Sample& before = first->sample;
  rates.prompt_tokens = static_cast<double>(sample.prompt_tokens - before.prompt_tokens) / seconds;
  rates.generated_tokens = static_cast<double>(sample.generated_tokens - before.generated_tokens) / seconds;
  if (before.ranks.size() != sample.ranks.size()) return rates;
  for (std::size_t r = 0; r < sample.ranks.size(); ++r) {
    const RankTime time = sample.ranks[r] - before.ranks[r];
    if (time.step <= 0) return rates;
    rates.sum_shares.push_back(time.sums / time.step);
    rates.waiting_shares.push_back(time.waiting / time.step);
  }
  return rates;
}

}  // namespace llm_tp

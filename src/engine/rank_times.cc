#include "engine/rank_times.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace llm_tp {

namespace {
constexpr double kFading = 0.98;  // of what was, an update
}

void RankTimes::update(std::span<const RankReport> reports) {
  if (last_.empty()) {
    last_.resize(reports.size());
    totals_.resize(reports.size());
    recent_work_.resize(reports.size());
  }
  LLM_TP_CHECK(last_.size() == reports.size(), "reports of another number of ranks");
  const auto calls = [&](std::size_t r) { return reports[r].call_seconds - last_[r].call_seconds; };
  double shortest = calls(0);
  for (std::size_t r = 1; r < reports.size(); ++r) shortest = std::min(shortest, calls(r));
  for (std::size_t r = 0; r < reports.size(); ++r) {
    const double step = reports[r].step_seconds - last_[r].step_seconds;
    const double waiting = reports[r].waiting_seconds < 0
                               ? calls(r) - shortest
                               : reports[r].waiting_seconds - last_[r].waiting_seconds;
    totals_[r].step += step;
    totals_[r].sums += calls(r) - waiting;
    totals_[r].waiting += waiting;
    recent_work_[r] = recent_work_[r] * kFading + step - waiting;
    last_[r] = reports[r];
  }
}

RankTimes::Straggler RankTimes::straggler() const {
  const double all = std::accumulate(recent_work_.begin(), recent_work_.end(), 0.0);
  if (all <= 0) return {};
  const auto most = std::max_element(recent_work_.begin(), recent_work_.end());
  const double mean = all / static_cast<double>(recent_work_.size());
  return {static_cast<int>(most - recent_work_.begin()), *most / mean - 1};
}

}  // namespace llm_tp

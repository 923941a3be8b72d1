#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/rank_times.h"

namespace llm_tp {

/// What a group did in the last ten seconds, of counters that only grow. Keeps a sample a second. No clock of
/// its own; not thread-safe.
class RecentActivity {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Sample {
    std::uint64_t prompt_tokens = 0, generated_tokens = 0;  // since the start
    std::vector<RankTime> ranks;                            // since the start; empty: not known yet
  };
  struct Rates {
    double prompt_tokens = 0, generated_tokens = 0;  // a second
    // Of each rank's time in steps; empty: there was no step.
    std::vector<double> sum_shares, waiting_shares;
  };
  /// Times never go back.
  void add(Time now, const Sample& sample);
  Rates rates(Time now, const Sample& sample) const;

 private:
  struct Kept {
    Time time;
    Sample sample;
  };
  std::deque<Kept> kept_;
};

}  // namespace llm_tp

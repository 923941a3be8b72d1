#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/rank_report.h"

namespace llm_tp {

/// Where one rank's time in steps went since the start, in seconds.
struct RankTime {
  double step = 0;     // in steps
  double sums = 0;     // of them: moving and adding in sums, gathers and shared rows, without waiting
  double waiting = 0;  // of them: for ranks that came later
};

inline RankTime operator-(const RankTime& a, const RankTime& b) {
  return {a.step - b.step, a.sums - b.sums, a.waiting - b.waiting};
}

/// Makes shares of time of the ranks' reports, and finds the rank that the others wait for.
///
/// Where a transport does not tell waiting from moving, a rank is taken to have waited for as long as its
/// calls lasted beyond those of the rank whose calls were shortest between the same two reports: the last to
/// arrive waits least. That is a lower bound where ranks are late in turns.
///
/// No thread, no clock: it can be tested with any history.
class RankTimes {
 public:
  /// By rank, of one step after the other. Reports that did not change add nothing.
  void update(std::span<const RankReport> reports);
  const std::vector<RankTime>& totals() const noexcept { return totals_; }

  struct Straggler {
    int rank = 0;
    double excess = 0;  // its time at work over the mean of all ranks, less 1: 0.1 is a tenth more
  };
  /// Of the last 50 updates or so, older ones counting less and less. Rank 0 without excess before the first.
  Straggler straggler() const;

 private:
  std::vector<RankReport> last_;
  std::vector<RankTime> totals_;
  std::vector<double> recent_work_;  // by rank: seconds in steps without waiting, faded
};

}  // namespace llm_tp

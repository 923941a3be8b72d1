#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace llm_tp {

/// What one rank used since its start. Trivially copyable: it travels between ranks as it is.
struct RankReport {
  double step_seconds = 0;     // in steps, the one under way included
  double call_seconds = 0;     // of them: inside the communicator
  double waiting_seconds = 0;  // of these: for ranks that came later; below 0: the transport does not tell
  // Bytes. The peak is that of the process since its start; files that are mapped count while they are
  // touched.
  std::int64_t weights_and_kv = 0, peak_memory = 0;
};

/// One rank's account of its time, and on rank 0 the last that every rank sent along with what it sends
/// anyway. One thread.
class RankBook {
 public:
  RankBook(const Communicator& ranks, std::int64_t weights_and_kv);
  void step_begins();
  void step_ends();
  RankReport own() const;
  void note(int rank, const RankReport& report);
  /// By rank, of those that sent one; on other ranks than 0 nothing was noted.
  const std::vector<RankReport>& latest() const noexcept { return latest_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Times {
    double step = 0, calls = 0, waiting = 0;
  };
  /// Of the steps that are over and the one under way.
  Times now() const;

  const Communicator& ranks_;
  std::int64_t weights_and_kv_;
  Times over_;  // of the steps that are over
  bool in_step_ = false;
  Clock::time_point step_began_;
  CallTimes calls_before_;  // calls outside steps are no part of a step's time
  std::vector<RankReport> latest_;
};

}  // namespace llm_tp

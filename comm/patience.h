#pragma once
#include <algorithm>
#include <chrono>

namespace llm_tp {

/// How long one wait for another rank has lasted, against a limit. Time counts in ticks of at most 100 ms, so
/// that a group that was suspended as a whole (SIGSTOP by a batch system) does not find its patience gone
/// when it wakes. One thread.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  /// limit 0: never ends.
  explicit Patience(std::chrono::milliseconds limit) : limit_(limit), last_(Clock::now()) {}
  /// To be asked every few milliseconds while waiting.
  bool ended() {
    const Clock::time_point now = Clock::now();
    waited_ += std::min<Clock::duration>(now - last_, std::chrono::milliseconds(100));
    last_ = now;
    return limit_.count() > 0 && waited_ >= limit_;
  }

 private:
  std::chrono::milliseconds limit_;
  Clock::time_point last_;
  Clock::duration waited_{};
};

}  // namespace llm_tp

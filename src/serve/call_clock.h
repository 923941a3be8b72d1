#pragma once
#include <chrono>
#include <optional>
#include <vector>

#include "serve/answer.h"

namespace llm_tp {

/// Hears how long calls take and what they used. Called on the engine's thread.
class CallMeter {
 public:
  virtual ~CallMeter() = default;
  virtual void first_token(double seconds) = 0;  // since the request came
  virtual void token_gap(double seconds) = 0;    // between two tokens of one sequence
  virtual void whole(double seconds) = 0;        // since the request came; of calls that were answered
  virtual void tokens(const Usage& usage) = 0;   // of a call that is over
};

/// The times of one call, told to a meter as they happen. One thread at a time.
class CallClock {
 public:
  CallClock(CallMeter& meter, std::size_t sequences) : meter_(meter), last_token_(sequences) {}
  void token(std::size_t sequence);
  void over(bool answered, const Usage& usage);
  double seconds() const;
  std::optional<double> seconds_to_first_token() const;

 private:
  using Clock = std::chrono::steady_clock;
  CallMeter& meter_;
  const Clock::time_point began_ = Clock::now();
  std::vector<std::optional<Clock::time_point>> last_token_;
  std::optional<Clock::time_point> first_token_, ended_;
};

}  // namespace llm_tp

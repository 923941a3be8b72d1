#include "serve/call_clock.h"

namespace llm_tp {
namespace {
double between(std::chrono::steady_clock::time_point begin, std::chrono::steady_clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}
}  // namespace

void CallClock::token(std::size_t sequence) {
  const auto now = Clock::now();
  if (auto& last = last_token_[sequence]; last) meter_.token_gap(between(*last, now));
  last_token_[sequence] = now;
  if (first_token_) return;
  first_token_ = now;
  meter_.first_token(between(began_, now));
}

void CallClock::over(bool answered, const Usage& usage) {
  ended_ = Clock::now();
  meter_.tokens(usage);
  if (answered) meter_.whole(seconds());
}

double CallClock::seconds() const { return between(began_, ended_.value_or(Clock::now())); }

std::optional<double> CallClock::seconds_to_first_token() const {
  if (!first_token_) return std::nullopt;
  return between(began_, *first_token_);
}

}  // namespace llm_tp

#include "engine/rank_report.h"

#include <sys/resource.h>

namespace llm_tp {

RankBook::RankBook(const Communicator& ranks, std::int64_t weights_and_kv)
    : ranks_(ranks), weights_and_kv_(weights_and_kv) {}

void RankBook::note(int rank, const RankReport& report) {
  const auto at = static_cast<std::size_t>(rank);
  if (at >= latest_.size()) latest_.resize(at + 1);
  latest_[at] = report;
}

void RankBook::step_begins() {
  in_step_ = true;
  step_began_ = Clock::now();
  calls_before_ = ranks_.times();
}

void RankBook::step_ends() {
  over_ = now();
  in_step_ = false;
}

RankBook::Times RankBook::now() const {
  if (!in_step_) return over_;
  const CallTimes calls = ranks_.times();
  return {over_.step + std::chrono::duration<double>(Clock::now() - step_began_).count(),
          over_.calls + calls.seconds - calls_before_.seconds,
          calls.waiting ? over_.waiting + *calls.waiting - *calls_before_.waiting : -1};
}

RankReport RankBook::own() const {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const Times times = now();
  return {times.step, times.calls, times.waiting, weights_and_kv_, std::int64_t{usage.ru_maxrss} * 1024};
}

}  // namespace llm_tp

#include "engine/rank_report.h"

#include <sys/resource.h>

namespace llm_tp {

RankBook::RankBook(const Communicator& ranks, std::int64_t weights_and_kv)
    : ranks_(ranks), weights_and_kv_(weights_and_kv), latest_(static_cast<std::size_t>(ranks.world())) {}

void RankBook::step_ends() noexcept {
  seconds_ += std::chrono::duration<double>(Clock::now() - step_began_).count();
  step_began_ = {};
}

RankReport RankBook::own() const {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const CallTimes calls = ranks_.times();
  RankReport report{seconds_, calls.seconds, calls.waiting.value_or(-1), weights_and_kv_,
                    std::int64_t{usage.ru_maxrss} * 1024};
  if (step_began_ != Clock::time_point{})
    report.step_seconds += std::chrono::duration<double>(Clock::now() - step_began_).count();
  return report;
}

}  // namespace llm_tp

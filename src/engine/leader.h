#pragma once
#include <functional>
#include <string>
#include <vector>

#include "comm/control_channel.h"
#include "engine/rank_place.h"
#include "engine/rank_times.h"
#include "engine/step_runner.h"
#include "schedule/scheduler.h"

namespace llm_tp {

/// Rank 0's side of a run: makes step plans, sends them to all ranks, takes part in them, and hands on what
/// came out.
class Leader {
 public:
  /// places: of every rank, for those who ask.
  Leader(StepRunner& runner, ControlChannel& control, SchedulerLimits limits,
         std::vector<RankPlace> places = {})
      : runner_(runner), control_(control), scheduler_(limits), places_(std::move(places)) {}
  Scheduler& scheduler() noexcept { return scheduler_; }
  const Scheduler& scheduler() const noexcept { return scheduler_; }
  /// Runs one step, where a request is left to run; else returns false. Between two steps requests may be
  /// added.
  bool step(const std::function<void(const Progress&)>& on_progress);
  /// Runs steps until no request is left. on_progress is called for every scored row, in order; it may cancel
  /// requests.
  void run(const std::function<void(const Progress&)>& on_progress);
  /// What rank 0 computes on: "cpu avx512 vnni, 2 threads".
  std::string device() const { return runner_.device(); }
  const std::vector<RankPlace>& places() const noexcept { return places_; }
  /// Where every rank's time went, as of the last report or step that scored a row.
  const RankTimes& rank_times() const noexcept { return rank_times_; }
  /// What every rank used, as of then.
  const std::vector<RankReport>& last_reports() const noexcept { return runner_.last_reports(); }
  /// What every rank used until now: asks them all.
  std::vector<RankReport> report();
  /// Tells the workers to end. Call once, last.
  void stop();

  struct StepTimes {
    double prefill_seconds = 0, decode_seconds = 0;
    // Decode: steps without rows of a prompt, and the new tokens they gave (a draft model's time counts, its
    // tokens do not). decode_rows: rows they ran; more than tokens where beams, candidates or guesses are
    // tried.
    std::int64_t prefill_tokens = 0, decode_tokens = 0, decode_rows = 0;
  };
  const StepTimes& times() const noexcept { return times_; }

 private:
  void send(StepPlan::Kind kind);

  StepRunner& runner_;
  ControlChannel& control_;
  Scheduler scheduler_;
  std::vector<RankPlace> places_;
  RankTimes rank_times_;
  StepTimes times_;
};

/// What every rank but 0 does: runs the plans that arrive until one says stop. Holds no request and no
/// schedule.
void work(StepRunner& runner, ControlChannel& control);

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "decoding/strategy.h"
#include "schedule/live_request.h"
#include "schedule/request.h"
#include "schedule/scheduler_limits.h"
#include "schedule/sequence_table.h"
#include "schedule/step_plan.h"

namespace llm_tp {

/// One outcome for whoever made the request.
struct Progress : Output {
  RequestId request = 0;
  std::int32_t cached_tokens = 0;  // of the request's prompt, that came from the prefix cache
};

/// What the first request in the line waits for, and with it those behind it.
enum class WaitsFor { kNothing, kSequences, kPages };

/// What the last step was, and what all did.
struct ScheduleFigures {
  bool prefills = false;  // the last step held rows of a prompt, or rows that were run again
  std::int64_t steps = 0, pages_copied = 0;
  std::int64_t preemptions = 0, preempted_tokens = 0;  // tokens whose keys and values were given back
  WaitsFor waits_for = WaitsFor::kNothing;
  StrategyFigures strategies;  // of the requests that are over
};

/// Decides what each step runs: the tokens that the requests' strategies appended to their sequences, and
/// chunks of prompts (row_shares.h). All requests stand in one line (Rank), in which they start, share rows
/// and get pages. One starts when the pages of its tokens are free, and a page more for each sequence that
/// runs. Where pages run out, the last one of the line that runs is preempted (LiveRequest); it starts again
/// in its place in the line, once there are twice as many pages to spare as before. So the first one always
/// goes on, and no two preempt each other. Strategies of all kinds share a step. Steps of a draft model come
/// first where it has something to run. Touches no device, thread or clock, so any history can be replayed.
/// Not thread-safe.
class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits);
  ~Scheduler();
  /// How many of the request's choices may run at the same time, by the limits alone; 1 at least. All of
  /// them where it is a search.
  std::int32_t most_choices(const Request& request) const;
  /// Errors: kUsage where the request can never fit the pages.
  RequestId add(Request request);
  /// Ends a request at any state; its pages are free at once. Unknown ids are ignored: it may have just
  /// finished.
  void cancel(RequestId id);
  /// Ends one of the choices of a request that has begun, at the latest once the rows that it waits for were
  /// run; the others go on. With beams: the whole request.
  void cancel(RequestId id, std::int32_t choice);
  /// Starts waiting requests, in order, while there is room; next() does it too. Returns those that begin.
  std::vector<RequestId> start_waiting();
  /// The next step, or nullopt when nothing is left to run.
  std::optional<StepPlan> next();
  /// The outcome of the plan that next() gave last; results[i] belongs to plan.score.rows[i].
  std::vector<Progress> commit(const StepPlan& plan, std::vector<RowResult> results);
  /// The number of a plan that is no step of a sequence: plans of the group are counted without gaps.
  std::uint64_t take_step_number() noexcept { return step_++; }
  const SchedulerLimits& limits() const noexcept { return limits_; }
  int pages_in_use() const noexcept;
  std::int64_t sequences_running() const;
  /// Requests that have not begun, and those that were preempted.
  std::int64_t requests_waiting() const noexcept { return static_cast<std::int64_t>(waiting_.size()); }
  std::int64_t requests_running() const noexcept { return static_cast<std::int64_t>(running_.size()); }
  const ScheduleFigures& figures() const noexcept { return figures_; }
  /// For tests: as SequenceTable's.
  void check_accounts() const { table_.check_accounts(); }

 private:
  struct Lack {
    std::int64_t wanted = 0, there = 0;  // pages of one cache
  };
  /// Nothing where an empty cache has room.
  std::optional<Lack> lack_of(const RequestNeeds& needs) const;
  struct Scored {
    RequestId request;
    SequenceId sequence;
    std::int32_t position;
  };
  struct Slice {
    SequenceId sequence;
    std::int32_t rows;
  };
  using Owner = std::unique_ptr<LiveRequest>;
  LiveRequest* find_running(RequestId id);
  LiveRequest* find(RequestId id);
  WaitsFor lacks(const LiveRequest& request) const;
  bool has_pages(SequenceId id, std::int32_t rows) const;
  bool make_room(const LiveRequest& request, SequenceId id, std::int32_t rows);
  void preempt_last();
  void plan_rows(StepPlan& plan, LiveRequest& request, SequenceId id, std::int32_t rows);
  /// The page tables of the slices, whose rows are all planned: what one copies and gives back, another may
  /// take.
  void plan_tables(StepPlan& plan) const;
  bool plan_model(StepPlan& plan, ModelSlot model);
  void forget(LiveRequest& request);

  SchedulerLimits limits_;
  SequenceTable table_;
  std::map<Rank, Owner> waiting_;
  std::vector<Owner> running_;  // by rank
  std::vector<Scored> scored_;
  std::vector<Slice> slices_;
  std::uint64_t step_ = 0;
  RequestId next_id_ = 0;
  ScheduleFigures figures_;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "decoding/strategy.h"
#include "schedule/request.h"
#include "schedule/sequence_table.h"
#include "schedule/step_plan.h"

namespace llm_tp {

using RequestId = std::int32_t;

struct SchedulerLimits {
  std::int32_t step_tokens = 512;  // rows of a step: decoded tokens first, then prompt chunks
  std::int32_t page_tokens = 16;
  std::vector<CacheLimits> caches;        // of the main model, the furthest-seeing first
  std::vector<CacheLimits> draft_caches;  // of the draft model; none: there is none
  bool prefix_cache = false;              // prompts start from pages of earlier ones that began alike
  // That run at the same time; a request that may have more of its own runs alone.
  std::int64_t sequences = std::numeric_limits<std::int64_t>::max();

  /// Pages of a cache that one sequence holds at most, whatever its length.
  std::int64_t most_held_pages(const CacheLimits& cache) const noexcept;
  /// Positions that one sequence may have.
  std::int64_t most_positions() const noexcept;
  /// Of all caches of the main model.
  std::int64_t main_pages() const noexcept;
};

/// One outcome for whoever made the request.
struct Progress : Output {
  RequestId request = 0;
  std::int32_t cached_tokens = 0;  // of the request's prompt, that came from the prefix cache
};

/// What the last step was, and what all did.
struct ScheduleFigures {
  bool prefills = false;  // the last step held rows of a prompt
  std::int64_t steps = 0, pages_copied = 0;
  StrategyFigures strategies;  // of the requests that are over
};

/// Decides what each step runs: the tokens that the requests' strategies appended to their sequences, and
/// chunks of waiting prompts up to the token budget, first come first served. Strategies of all kinds share a
/// step. Steps of a draft model come first where it has something to run. Touches no device, thread or clock,
/// so any history can be replayed. Not thread-safe.
class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits);
  ~Scheduler();
  /// Errors: kUsage where the request can never fit the pages.
  RequestId add(Request request);
  /// Ends a request at any state; its pages are free at once. Unknown ids are ignored: it may have just
  /// finished.
  void cancel(RequestId id);
  /// Ends one of its choices; the others go on. With beams: the whole request.
  void cancel(RequestId id, std::int32_t choice);
  /// Starts waiting requests, in order, while there is room; next() does it too. Returns those that start.
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
  const ScheduleFigures& figures() const noexcept { return figures_; }

 private:
  class Running;
  struct Waiting {
    RequestId id;
    Request request;
  };
  struct Scored {
    RequestId request;
    SequenceId sequence;
    std::int32_t position;
  };
  struct Slice {
    SequenceId sequence;
    std::int32_t rows;
  };
  Running* find(RequestId id);
  void plan_rows(StepPlan& plan, Running& request, SequenceId id, std::int32_t rows);
  /// The page tables of the slices, whose rows are all planned: what one copies and gives back, another may
  /// take.
  void plan_tables(StepPlan& plan) const;
  bool plan_model(StepPlan& plan, ModelSlot model);
  void forget(Running& request);
  /// Pages that a request may come to need: of each cache of the main model, then of the draft model.
  std::vector<std::int64_t> pages_for(const RequestNeeds& needs) const;
  /// The first cache that has not so many pages besides those that are promised, as pages_for().
  std::optional<std::size_t> cache_without(const std::vector<std::int64_t>& pages,
                                           const std::vector<std::int64_t>& promised) const;
  std::int64_t pages_of(std::size_t cache) const;

  SchedulerLimits limits_;
  SequenceTable table_;
  std::vector<std::int64_t> promised_;  // pages that running requests may come to need, as pages_for()
  std::deque<Waiting> waiting_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<Scored> scored_;
  std::vector<Slice> slices_;
  std::uint64_t step_ = 0;
  RequestId next_id_ = 0;
  ScheduleFigures figures_;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "decoding/sampler.h"
#include "schedule/page_allocator.h"
#include "schedule/request.h"
#include "schedule/step_plan.h"

namespace llm_tp {

using RequestId = std::int32_t;

struct SchedulerLimits {
  std::int32_t step_tokens = 512;  // rows of a step: decoded tokens first, then prompt chunks
  std::int32_t page_tokens = 16;
  std::int32_t pages = 0;
};

/// One scored row's outcome, for the request that asked.
struct Progress {
  RequestId request = 0;
  std::int32_t position = 0;  // of the row that was scored
  RowResult row;
  bool new_token = false;                // row.token was appended to the sequence
  std::optional<FinishReason> finished;  // with the last one
};

/// Decides what each step runs: a token of every running sequence, and chunks of waiting prompts up to the
/// token budget, first come first served. Touches no device, thread or clock, so any history can be replayed.
/// Not thread-safe.
class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits);
  /// Errors: kUsage where the request can never fit the pages.
  RequestId add(Request request);
  /// Ends a request at any state; its pages are free at once. Unknown ids are ignored: it may have just
  /// finished.
  void cancel(RequestId id);
  /// The next step, or nullopt when nothing is left to run.
  std::optional<StepPlan> next();
  /// The outcome of the plan that next() gave last; results[i] belongs to plan.scored[i].
  std::vector<Progress> commit(const StepPlan& plan, std::vector<RowResult> results);
  /// The number of a plan that is no step of a sequence: plans of the group are counted without gaps.
  std::uint64_t take_step_number() noexcept { return step_++; }
  int pages_in_use() const noexcept { return allocator_.total_pages() - allocator_.free_pages(); }

 private:
  struct Sequence {
    RequestId id;
    Request request;
    std::vector<TokenId> tokens;  // prompt and new ones
    std::int32_t done = 0;        // positions whose keys and values are in the cache
    std::vector<PageId> pages;
  };
  struct Scored {
    RequestId request;
    std::int32_t position;
  };
  std::int32_t pages_for(std::int32_t positions) const noexcept;
  std::int32_t most_positions(const Request& request) const noexcept;
  void plan_rows(StepPlan& plan, Sequence& sequence, std::int32_t rows);
  void score_row(StepPlan& plan, const Sequence& sequence, std::int32_t row, std::int32_t position);
  void admit();
  void finish(std::size_t index);

  SchedulerLimits limits_;
  PageAllocator allocator_;
  std::int32_t promised_pages_ = 0;  // that the running sequences may still come to need
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;
  std::vector<Scored> scored_;
  std::uint64_t step_ = 0;
  RequestId next_id_ = 0;
};

}  // namespace llm_tp

#include "schedule/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace llm_tp {

Scheduler::Scheduler(SchedulerLimits limits) : limits_(limits), allocator_(limits.pages) {}

std::int32_t Scheduler::pages_for(std::int32_t positions) const noexcept {
  return (positions + limits_.page_tokens - 1) / limits_.page_tokens;
}

/// The last new token is never run, so it needs no place.
std::int32_t Scheduler::most_positions(const Request& request) const noexcept {
  return static_cast<std::int32_t>(request.prompt.size()) + std::max(0, request.max_tokens - 1);
}

RequestId Scheduler::add(Request request) {
  LLM_TP_CHECK(!request.prompt.empty(), "a request without tokens");
  const std::int32_t needed = pages_for(most_positions(request));
  if (needed > limits_.pages)
    throw Error(ExitCode::kUsage, "a request needs " + std::to_string(needed) + " KV pages of " +
                                      std::to_string(limits_.page_tokens) + " positions, but there are " +
                                      std::to_string(limits_.pages) + ": shorten the prompt or max_tokens");
  Sequence sequence{next_id_++, std::move(request), {}, 0, {}};
  sequence.tokens = sequence.request.prompt;
  waiting_.push_back(std::move(sequence));
  return waiting_.back().id;
}

void Scheduler::cancel(RequestId id) {
  std::erase_if(waiting_, [&](const Sequence& s) { return s.id == id; });
  for (std::size_t i = 0; i < running_.size(); ++i)
    if (running_[i].id == id) return finish(i);
}

void Scheduler::finish(std::size_t index) {
  Sequence& sequence = running_[index];
  for (PageId page : sequence.pages) allocator_.give_back(page);
  promised_pages_ -= pages_for(most_positions(sequence.request));
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
}

/// A sequence starts only when the pages it may come to need are all there, so none that runs is ever stuck.
void Scheduler::admit() {
  while (!waiting_.empty()) {
    const std::int32_t needed = pages_for(most_positions(waiting_.front().request));
    if (promised_pages_ + needed > limits_.pages) return;
    promised_pages_ += needed;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Scheduler::score_row(StepPlan& plan, const Sequence& sequence, std::int32_t row, std::int32_t position) {
  const Request& request = sequence.request;
  RowRequest wanted;
  wanted.row = row;
  wanted.sequence = request.stream;
  wanted.position = position + 1;
  wanted.seed = request.sampling.seed;
  wanted.best = request.best;
  wanted.whole = request.whole_logits;
  if (const auto next = static_cast<std::size_t>(position) + 1; next < sequence.tokens.size()) {
    wanted.target = sequence.tokens[next];
  } else {
    wanted.temperature = request.sampling.temperature;
    wanted.top_k = request.sampling.top_k;
    wanted.top_p = request.sampling.top_p;
    if (static_cast<std::int32_t>(sequence.tokens.size() - request.prompt.size()) < request.min_tokens) {
      wanted.first_suppressed = static_cast<std::int32_t>(plan.suppressed.size());
      wanted.suppressed = static_cast<std::int32_t>(request.end_ids.size());
      plan.suppressed.insert(plan.suppressed.end(), request.end_ids.begin(), request.end_ids.end());
    }
  }
  plan.scored.push_back(wanted);
  scored_.push_back({sequence.id, position});
}

void Scheduler::plan_rows(StepPlan& plan, Sequence& sequence, std::int32_t rows) {
  while (static_cast<std::int32_t>(sequence.pages.size()) < pages_for(sequence.done + rows))
    sequence.pages.push_back(allocator_.take());
  const auto first_row = static_cast<std::int32_t>(plan.tokens.size());
  plan.slices.push_back({rows, sequence.done, static_cast<std::int32_t>(plan.pages.size()),
                         static_cast<std::int32_t>(sequence.pages.size()),
                         static_cast<std::int32_t>(sequence.request.prompt.size())});
  plan.pages.insert(plan.pages.end(), sequence.pages.begin(), sequence.pages.end());
  for (std::int32_t i = 0; i < rows; ++i) {
    const std::int32_t position = sequence.done + i;
    plan.tokens.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
    const bool last = static_cast<std::size_t>(position) + 1 == sequence.tokens.size();
    if (!last && !sequence.request.score_prompt) continue;
    score_row(plan, sequence, first_row + i, position);
  }
}

std::optional<StepPlan> Scheduler::next() {
  admit();
  if (running_.empty()) return std::nullopt;
  StepPlan plan;
  plan.step = step_++;
  scored_.clear();
  std::int32_t budget = limits_.step_tokens;
  // Sequences that decode come first: a long prompt must not hold them up.
  for (const bool decoding : {true, false})
    for (Sequence& sequence : running_) {
      const auto left = static_cast<std::int32_t>(sequence.tokens.size()) - sequence.done;
      if ((left == 1 && sequence.done > 0) != decoding || budget == 0) continue;
      const std::int32_t rows = std::min(left, budget);
      plan_rows(plan, sequence, rows);
      budget -= rows;
    }
  return plan;
}

std::vector<Progress> Scheduler::commit(const StepPlan& plan, std::vector<RowResult> results) {
  LLM_TP_CHECK(plan.step + 1 == step_ && results.size() == scored_.size(), "commit of another plan");
  // A slice belongs to the sequence whose first page it names: pages have one owner while they are in use.
  for (const PlanSlice& slice : plan.slices)
    for (Sequence& sequence : running_)
      if (!sequence.pages.empty() &&
          sequence.pages[0] == plan.pages[static_cast<std::size_t>(slice.first_page)])
        sequence.done = slice.first_position + slice.rows;
  std::vector<Progress> all;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [&](const Sequence& s) { return s.id == scored_[i].request; });
    if (at == running_.end()) continue;  // cancelled since
    Sequence& sequence = *at;
    const Request& request = sequence.request;
    Progress progress{sequence.id, scored_[i].position, std::move(results[i]), false, std::nullopt};
    if (static_cast<std::size_t>(progress.position) + 1 == sequence.tokens.size()) {
      const auto made = static_cast<std::int32_t>(sequence.tokens.size() - request.prompt.size());
      if (request.max_tokens > 0) {
        progress.new_token = true;
        sequence.tokens.push_back(progress.row.token);
        const bool ends = std::find(request.end_ids.begin(), request.end_ids.end(), progress.row.token) !=
                          request.end_ids.end();
        if (ends) progress.finished = FinishReason::kStop;
      }
      if (!progress.finished && made + 1 >= request.max_tokens) progress.finished = FinishReason::kLength;
    }
    const bool finished = progress.finished.has_value();
    all.push_back(std::move(progress));
    if (finished) finish(static_cast<std::size_t>(at - running_.begin()));
  }
  return all;
}

}  // namespace llm_tp

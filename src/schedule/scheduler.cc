#include "schedule/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "schedule/row_shares.h"

namespace llm_tp {

Scheduler::Scheduler(SchedulerLimits limits)
    : limits_(std::move(limits)),
      table_(limits_.page_tokens, limits_.caches, limits_.draft_caches, limits_.prefix_cache) {}

Scheduler::~Scheduler() = default;

int Scheduler::pages_in_use() const noexcept {
  int used = 0;
  for (const PageAllocator& pages : table_.pages(ModelSlot::kMain))
    used += pages.total_pages() - pages.free_pages() - pages.idle_pages();
  return used;
}

std::int64_t Scheduler::sequences_running() const {
  std::int64_t sequences = 0;
  for (const Owner& request : running_) sequences += request->most_sequences();
  return sequences;
}

RequestId Scheduler::add(Request request) {
  LLM_TP_CHECK(!request.prompt.empty(), "a request without tokens");
  const RequestNeeds needs = needs_of(request);
  LLM_TP_CHECK(!needs.draft || !limits_.draft_caches.empty(),
               "a request for a draft model that was not loaded");
  if (const auto lack = lack_of(needs))
    throw Error(ExitCode::kUsage, "a request needs " + std::to_string(lack->wanted) + " KV pages of " +
                                      std::to_string(limits_.page_tokens) + " positions, but there are " +
                                      std::to_string(lack->there) +
                                      ": shorten the prompt, max_tokens, n or num_beams");
  auto live = std::make_unique<LiveRequest>(next_id_++, request, table_);
  const Rank rank = live->rank;
  waiting_.emplace(rank, std::move(live));
  return rank.id;
}

std::optional<Scheduler::Lack> Scheduler::lack_of(const RequestNeeds& needs) const {
  for (const CacheLimits& cache : limits_.caches)
    if (const auto pages = needs.main_pages(limits_.page_tokens, limits_.most_held_pages(cache));
        pages > cache.pages)
      return Lack{pages, cache.pages};
  for (const CacheLimits& cache : limits_.draft_caches)
    if (const auto pages = needs.draft_pages(limits_.page_tokens, limits_.most_held_pages(cache));
        pages > cache.pages)
      return Lack{pages, cache.pages};
  return std::nullopt;
}

std::int32_t Scheduler::most_choices(const Request& request) const {
  if (request.beams || request.contrastive || request.embedding) return request.choices;
  RequestNeeds needs = needs_of(request);
  const auto fit = [&](std::int64_t choices) {
    needs.sequences = choices;
    return !lack_of(needs);
  };
  std::int64_t fitting = 1, too_many = std::min<std::int64_t>(request.choices, limits_.sequences) + 1;
  while (too_many - fitting > 1) {
    const std::int64_t middle = fitting + (too_many - fitting) / 2;
    (fit(middle) ? fitting : too_many) = middle;
  }
  return static_cast<std::int32_t>(fitting);
}

LiveRequest* Scheduler::find_running(RequestId id) {
  const auto at =
      std::find_if(running_.begin(), running_.end(), [&](const Owner& r) { return r->rank.id == id; });
  return at == running_.end() ? nullptr : at->get();
}

LiveRequest* Scheduler::find(RequestId id) {
  if (LiveRequest* running = find_running(id)) return running;
  const auto at =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.first.id == id; });
  return at == waiting_.end() ? nullptr : at->second.get();
}

void Scheduler::cancel(RequestId id) {
  if (LiveRequest* request = find(id)) forget(*request);
}

void Scheduler::cancel(RequestId id, std::int32_t choice) {
  LiveRequest* const request = find(id);
  if (request == nullptr || !request->has_begun()) return;
  request->stop(choice);
  if (request->strategy->finished()) forget(*request);
}

void Scheduler::forget(LiveRequest& request) {
  request.drop_all();
  figures_.strategies.add(request.strategy->figures());
  if (request.runs())
    std::erase_if(running_, [&](const Owner& r) { return r.get() == &request; });
  else
    waiting_.erase(Rank(request.rank));
}

/// What a request lacks to start. Nothing where none runs: alone each fits, as add() saw to.
WaitsFor Scheduler::lacks(const LiveRequest& request) const {
  if (running_.empty()) return WaitsFor::kNothing;
  if (sequences_running() + request.most_sequences() > limits_.sequences) return WaitsFor::kSequences;
  // Whoever was preempted waits for more room each time, up to all that can ever be needed.
  const std::int64_t growth = std::int64_t{1} << std::min(request.preemptions(), 30);
  std::vector<std::int64_t> pages = request.pages_to_come(limits_, growth);
  for (const Owner& running : running_) {
    const std::vector<std::int64_t> theirs = running->pages_to_come(limits_, growth);
    for (std::size_t c = 0; c < pages.size(); ++c) pages[c] += theirs[c];
  }
  std::size_t at = 0;
  for (const ModelSlot model : {ModelSlot::kMain, ModelSlot::kDraft})
    for (std::size_t c = 0; c < limits_.caches_of(model).size(); ++c, ++at)
      if (pages[at] > table_.available(model, c)) return WaitsFor::kPages;
  return WaitsFor::kNothing;
}

std::vector<RequestId> Scheduler::start_waiting() {
  std::vector<RequestId> begun;
  figures_.waits_for = WaitsFor::kNothing;
  while (!waiting_.empty()) {
    const auto first = waiting_.begin();
    figures_.waits_for = lacks(*first->second);
    if (figures_.waits_for != WaitsFor::kNothing) break;
    const auto at = std::upper_bound(running_.begin(), running_.end(), first->first,
                                     [](const Rank& rank, const Owner& r) { return rank < r->rank; });
    LiveRequest& request = **running_.insert(at, std::move(first->second));
    waiting_.erase(first);
    if (!request.has_begun()) begun.push_back(request.rank.id);
    request.run();
  }
  return begun;
}

void Scheduler::preempt_last() {
  Owner request = std::move(running_.back());
  running_.pop_back();
  ++figures_.preemptions;
  for (const SequenceId id : request->sequences) figures_.preempted_tokens += table_.get(id).done;
  request->preempt();
  const Rank rank = request->rank;
  waiting_.emplace(rank, std::move(request));
}

bool Scheduler::has_pages(SequenceId id, std::int32_t rows) const {
  const ModelSlot model = table_.get(id).model;
  const std::vector<std::int64_t> pages = table_.pages_to_take(id, rows);
  for (std::size_t c = 0; c < pages.size(); ++c)
    if (pages[c] > table_.available(model, c)) return false;
  return true;
}

/// Whether the rows have their pages, after preemptions where that helps. None of those that are preempted
/// has rows in the step: they come later in the line.
bool Scheduler::make_room(const LiveRequest& request, SequenceId id, std::int32_t rows) {
  while (!has_pages(id, rows)) {
    if (running_.back().get() == &request) return false;
    preempt_last();
  }
  return true;
}

void Scheduler::plan_rows(StepPlan& plan, LiveRequest& request, SequenceId id, std::int32_t rows) {
  table_.prepare(id, rows, plan.copies);
  const SequenceTable::Sequence& sequence = table_.get(id);
  const auto first_row = static_cast<std::int32_t>(plan.tokens.size());
  plan.slices.push_back(
      {rows, sequence.done, static_cast<std::int32_t>(request.prompt.size()), sequence.adapter});
  slices_.push_back({id, rows});
  request.note_rows();
  for (std::int32_t i = 0; i < rows; ++i) {
    const std::int32_t position = sequence.done + i;
    plan.tokens.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
    if (position < sequence.told) continue;
    request.strategy->want(request, id, position, first_row + i, plan.score);
    while (scored_.size() < plan.score.rows.size()) scored_.push_back({request.rank.id, id, position});
  }
}

void Scheduler::plan_tables(StepPlan& plan) const {
  const std::size_t caches =
      plan.model == ModelSlot::kMain ? limits_.caches.size() : limits_.draft_caches.size();
  for (std::size_t c = 0; c < caches; ++c)
    for (const Slice& slice : slices_) {
      const SequenceTable::Sequence& sequence = table_.get(slice.sequence);
      const PageRun& run = sequence.runs[c];
      // Pages behind the rows are not the step's business.
      const std::int32_t pages =
          (sequence.done + slice.rows + limits_.page_tokens - 1) / limits_.page_tokens - run.pages_before;
      plan.tables.push_back({static_cast<std::int32_t>(plan.pages.size()), pages, run.pages_before});
      plan.pages.insert(plan.pages.end(), run.pages.begin(), run.pages.begin() + pages);
    }
}

bool Scheduler::plan_model(StepPlan& plan, ModelSlot model) {
  plan.model = model;
  struct Wish {
    LiveRequest* request;
    SequenceId sequence;
  };
  std::vector<Wish> wishes;
  std::vector<RowShare> shares;
  for (const Owner& request : running_)
    for (const SequenceId id : request->sequences) {
      const std::int32_t rows = request->rows_of(id);
      if (table_.get(id).model != model || rows == 0) continue;
      table_.give_back_unseen(id);
      wishes.push_back({request.get(), id});
      shares.push_back({rows, request->decodes(id), 0});
    }
  share_rows(shares, limits_.step_tokens);
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    LiveRequest& request = *wishes[i].request;
    if (shares[i].rows == 0 || !request.runs()) continue;  // or it was preempted for one before it
    if (!make_room(request, wishes[i].sequence, shares[i].rows)) continue;
    figures_.prefills = figures_.prefills || !shares[i].decodes;
    plan_rows(plan, request, wishes[i].sequence, shares[i].rows);
  }
  plan_tables(plan);
  return !plan.slices.empty();
}

std::optional<StepPlan> Scheduler::next() {
  start_waiting();
  StepPlan plan;
  scored_.clear();
  slices_.clear();
  figures_.prefills = false;
  if (!plan_model(plan, ModelSlot::kDraft) && !plan_model(plan, ModelSlot::kMain)) {
    LLM_TP_CHECK(running_.empty(), "requests are left, and none of them can go on");
    return std::nullopt;
  }
  plan.step = step_++;
  ++figures_.steps;
  figures_.pages_copied += static_cast<std::int64_t>(plan.copies.size());
  return plan;
}

std::vector<Progress> Scheduler::commit(const StepPlan& plan, std::vector<RowResult> results) {
  LLM_TP_CHECK(plan.step + 1 == step_ && results.size() == scored_.size(), "commit of another plan");
  for (const Slice& slice : slices_)
    if (table_.has(slice.sequence)) table_.advance(slice.sequence, slice.rows);
  std::vector<Progress> all;
  std::vector<Output> told;
  const auto hand_on = [&](const LiveRequest& request) {
    for (Output& output : told) all.push_back({std::move(output), request.rank.id, request.cached_tokens});
    told.clear();
  };
  for (std::size_t i = 0; i < results.size(); ++i) {
    LiveRequest* request = find_running(scored_[i].request);
    if (request == nullptr || !table_.has(scored_[i].sequence)) continue;  // cancelled since
    request->strategy->take(scored_[i].sequence, scored_[i].position, std::move(results[i]), told);
    hand_on(*request);
  }
  for (std::size_t i = 0; i < running_.size();) {
    LiveRequest& request = *running_[i];
    request.after_step(told);
    hand_on(request);
    if (request.strategy->finished())
      forget(request);
    else
      ++i;
  }
  return all;
}

}  // namespace llm_tp

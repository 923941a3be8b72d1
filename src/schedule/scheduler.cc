#include "schedule/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace llm_tp {

std::int64_t SchedulerLimits::most_held_pages(const CacheLimits& cache) const noexcept {
  if (cache.lookback == 0) return RequestNeeds::kAll;
  // Positions [done - lookback, done + step_tokens), which may begin at the end of a page.
  return (std::int64_t{cache.lookback} + step_tokens + page_tokens - 2) / page_tokens + 1;
}

std::int64_t SchedulerLimits::most_positions() const noexcept {
  std::int64_t most = RequestNeeds::kAll;
  for (const CacheLimits& cache : caches)
    if (most_held_pages(cache) > cache.pages) most = std::min(most, std::int64_t{cache.pages} * page_tokens);
  return most;
}

std::int64_t SchedulerLimits::main_pages() const noexcept {
  std::int64_t pages = 0;
  for (const CacheLimits& cache : caches) pages += cache.pages;
  return pages;
}

/// A request whose sequences may run; its strategy sees them through this.
class Scheduler::Running final : public SequenceSet {
 public:
  Running(RequestId request_id, const Request& request, SequenceTable& table)
      : id(request_id),
        prompt_tokens(static_cast<std::int32_t>(request.prompt.size())),
        needs(needs_of(request)),
        adapter(request.adapter),
        strategy(make_strategy(request)),
        table_(table),
        // Where rows of the prompt have an outcome of their own, they are run.
        reuses_(!request.score_prompt && !request.whole_logits && !request.contrastive &&
                request.speculation.kind == SpeculationKind::kNone &&
                (!request.embedding || request.embedding->pooling == Pooling::kLast)) {
    strategy->begin(*this);
  }

  SequenceId start(ModelSlot model, std::vector<TokenId> tokens) override {
    // A draft model guesses for the adapted model as it is.
    const AdapterId own = model == ModelSlot::kMain ? adapter : kNoAdapter;
    const SequenceId sequence = remember(table_.start(model, std::move(tokens), reuses_, own));
    cached_tokens = std::max(cached_tokens, table_.get(sequence).done);
    return sequence;
  }
  SequenceId fork(SequenceId from) override { return remember(table_.fork(from)); }
  void append(SequenceId sequence, std::span<const TokenId> tokens) override {
    table_.append(sequence, tokens);
  }
  void cut(SequenceId sequence, std::int32_t length) override { table_.cut(sequence, length); }
  void drop(SequenceId sequence) override {
    table_.drop(sequence);
    std::erase(sequences, sequence);
  }
  const std::vector<TokenId>& tokens(SequenceId sequence) const override {
    return table_.get(sequence).tokens;
  }

  void drop_all() {
    while (!sequences.empty()) drop(sequences.back());
  }
  bool waits() const {
    return std::any_of(sequences.begin(), sequences.end(),
                       [&](SequenceId s) { return table_.get(s).waiting() > 0; });
  }

  const RequestId id;
  const std::int32_t prompt_tokens;
  const RequestNeeds needs;
  const AdapterId adapter;
  std::vector<SequenceId> sequences;
  std::unique_ptr<Strategy> strategy;
  std::int32_t cached_tokens = 0;

 private:
  SequenceId remember(SequenceId sequence) {
    sequences.push_back(sequence);
    return sequence;
  }
  SequenceTable& table_;
  const bool reuses_;
};

Scheduler::Scheduler(SchedulerLimits limits)
    : limits_(std::move(limits)),
      table_(limits_.page_tokens, limits_.caches, limits_.draft_caches, limits_.prefix_cache),
      promised_(limits_.caches.size() + limits_.draft_caches.size()) {}

Scheduler::~Scheduler() = default;

int Scheduler::pages_in_use() const noexcept {
  int used = 0;
  for (const PageAllocator& pages : table_.pages(ModelSlot::kMain))
    used += pages.total_pages() - pages.free_pages() - pages.idle_pages();
  return used;
}

std::vector<std::int64_t> Scheduler::pages_for(const RequestNeeds& needs) const {
  std::vector<std::int64_t> pages;
  for (const CacheLimits& cache : limits_.caches)
    pages.push_back(needs.main_pages(limits_.page_tokens, limits_.most_held_pages(cache)));
  for (const CacheLimits& cache : limits_.draft_caches)
    pages.push_back(needs.draft_pages(limits_.page_tokens, limits_.most_held_pages(cache)));
  return pages;
}

std::int64_t Scheduler::pages_of(std::size_t cache) const {
  const std::size_t main = limits_.caches.size();
  return cache < main ? limits_.caches[cache].pages : limits_.draft_caches[cache - main].pages;
}

std::optional<std::size_t> Scheduler::cache_without(const std::vector<std::int64_t>& pages,
                                                    const std::vector<std::int64_t>& promised) const {
  for (std::size_t cache = 0; cache < pages.size(); ++cache)
    if (promised[cache] + pages[cache] > pages_of(cache)) return cache;
  return std::nullopt;
}

RequestId Scheduler::add(Request request) {
  LLM_TP_CHECK(!request.prompt.empty(), "a request without tokens");
  const RequestNeeds needs = needs_of(request);
  LLM_TP_CHECK(!needs.draft || !limits_.draft_caches.empty(),
               "a request for a draft model that was not loaded");
  const std::vector<std::int64_t> pages = pages_for(needs);
  if (const auto cache = cache_without(pages, std::vector<std::int64_t>(pages.size())))
    throw Error(ExitCode::kUsage, "a request needs " + std::to_string(pages[*cache]) + " KV pages of " +
                                      std::to_string(limits_.page_tokens) + " positions, but there are " +
                                      std::to_string(pages_of(*cache)) +
                                      ": shorten the prompt, max_tokens, n or num_beams");
  waiting_.push_back({next_id_++, std::move(request)});
  return waiting_.back().id;
}

Scheduler::Running* Scheduler::find(RequestId id) {
  const auto at =
      std::find_if(running_.begin(), running_.end(), [&](const auto& running) { return running->id == id; });
  return at == running_.end() ? nullptr : at->get();
}

void Scheduler::cancel(RequestId id) {
  std::erase_if(waiting_, [&](const Waiting& w) { return w.id == id; });
  if (Running* running = find(id)) forget(*running);
}

void Scheduler::cancel(RequestId id, std::int32_t choice) {
  Running* running = find(id);
  if (running == nullptr) return;
  running->strategy->stop(*running, choice);
  if (running->strategy->finished()) forget(*running);
}

void Scheduler::forget(Running& request) {
  request.drop_all();
  figures_.strategies.add(request.strategy->figures());
  const std::vector<std::int64_t> pages = pages_for(request.needs);
  for (std::size_t i = 0; i < pages.size(); ++i) promised_[i] -= pages[i];
  std::erase_if(running_, [&](const auto& running) { return running.get() == &request; });
}

std::int64_t Scheduler::sequences_running() const {
  std::int64_t sequences = 0;
  for (const auto& request : running_) sequences += request->strategy->most_sequences();
  return sequences;
}

/// A request starts only when the pages it may come to need are all there, so none that runs is ever stuck.
std::vector<RequestId> Scheduler::start_waiting() {
  std::vector<RequestId> started;
  while (!waiting_.empty()) {
    const RequestNeeds needs = needs_of(waiting_.front().request);
    if (!running_.empty() && sequences_running() + needs.sequences > limits_.sequences) break;
    const std::vector<std::int64_t> pages = pages_for(needs);
    if (cache_without(pages, promised_)) break;
    for (std::size_t i = 0; i < pages.size(); ++i) promised_[i] += pages[i];
    running_.push_back(std::make_unique<Running>(waiting_.front().id, waiting_.front().request, table_));
    started.push_back(waiting_.front().id);
    waiting_.pop_front();
  }
  return started;
}

void Scheduler::plan_rows(StepPlan& plan, Running& request, SequenceId id, std::int32_t rows) {
  table_.prepare(id, rows, plan.copies);
  const SequenceTable::Sequence& sequence = table_.get(id);
  const auto first_row = static_cast<std::int32_t>(plan.tokens.size());
  plan.slices.push_back({rows, sequence.done, request.prompt_tokens, sequence.adapter});
  slices_.push_back({id, rows});
  for (std::int32_t i = 0; i < rows; ++i) {
    const std::int32_t position = sequence.done + i;
    plan.tokens.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
    request.strategy->want(request, id, position, first_row + i, plan.score);
    while (scored_.size() < plan.score.rows.size()) scored_.push_back({request.id, id, position});
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
  std::int32_t budget = limits_.step_tokens;
  // Sequences that decode come first: a long prompt must not hold them up.
  for (const bool decoding : {true, false})
    for (const auto& request : running_)
      for (const SequenceId id : request->sequences) {
        const SequenceTable::Sequence& sequence = table_.get(id);
        if (sequence.model != model || sequence.waiting() == 0 || budget == 0) continue;
        const bool decodes = sequence.done >= request->prompt_tokens;
        if (decodes != decoding) continue;
        const std::int32_t rows = std::min(sequence.waiting(), budget);
        figures_.prefills = figures_.prefills || !decodes;
        plan_rows(plan, *request, id, rows);
        budget -= rows;
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
  if (!plan_model(plan, ModelSlot::kDraft) && !plan_model(plan, ModelSlot::kMain)) return std::nullopt;
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
  const auto hand_on = [&](const Running& request) {
    for (Output& output : told) all.push_back({std::move(output), request.id, request.cached_tokens});
    told.clear();
  };
  for (std::size_t i = 0; i < results.size(); ++i) {
    Running* request = find(scored_[i].request);
    if (request == nullptr || !table_.has(scored_[i].sequence)) continue;  // cancelled since
    request->strategy->take(scored_[i].sequence, scored_[i].position, std::move(results[i]), told);
    hand_on(*request);
  }
  for (std::size_t i = 0; i < running_.size();) {
    Running& request = *running_[i];
    if (!request.waits() && !request.strategy->finished()) {
      request.strategy->advance(request, told);
      hand_on(request);
    }
    if (request.strategy->finished())
      forget(request);
    else
      ++i;
  }
  return all;
}

}  // namespace llm_tp

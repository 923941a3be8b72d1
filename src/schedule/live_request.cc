#include "schedule/live_request.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

/// Where rows of the prompt have an outcome of their own, they are run.
bool starts_from_kept_pages(const Request& request) {
  return !request.score_prompt && !request.whole_logits && !request.contrastive &&
         request.speculation.kind == SpeculationKind::kNone &&
         (!request.embedding || request.embedding->pooling == Pooling::kLast);
}

}  // namespace

LiveRequest::LiveRequest(RequestId id, const Request& request, SequenceTable& table)
    : rank(Rank::of(id, request.priority)),
      prompt(request.prompt),
      needs(needs_of(request)),
      adapter(request.adapter),
      strategy(make_strategy(request)),
      table_(table),
      reuses_(starts_from_kept_pages(request)) {}

SequenceId LiveRequest::remember(SequenceId sequence) {
  sequences.push_back(sequence);
  return sequence;
}

SequenceId LiveRequest::start(ModelSlot model, std::vector<TokenId> all) {
  // A draft model guesses for the adapted model as it is.
  const AdapterId own = model == ModelSlot::kMain ? adapter : kNoAdapter;
  const SequenceId sequence = remember(table_.start(model, std::move(all), reuses_, own));
  cached_tokens = std::max(cached_tokens, table_.get(sequence).done);
  return sequence;
}

SequenceId LiveRequest::fork(SequenceId from) { return remember(table_.fork(from)); }

void LiveRequest::append(SequenceId sequence, std::span<const TokenId> more) {
  table_.append(sequence, more);
}

void LiveRequest::cut(SequenceId sequence, std::int32_t length) { table_.cut(sequence, length); }

void LiveRequest::drop(SequenceId sequence) {
  LLM_TP_CHECK(followers_.empty(), "a sequence ended that others are to go on from");
  std::erase(sequences, sequence);
  table_.drop(sequence);
}

const std::vector<TokenId>& LiveRequest::tokens(SequenceId sequence) const {
  return table_.get(sequence).tokens;
}

void LiveRequest::run() {
  runs_ = true;
  if (!begun_) {
    begun_ = true;
    return strategy->begin(*this);
  }
  ran_ahead_ = true;  // no choice ends before it is back where it was
  followers_ = of_model(ModelSlot::kMain);
  if (followers_.empty()) return;
  beginning_ = common_beginning(followers_);
  first_ = followers_.front();
  followers_.erase(followers_.begin());
  table_.resume(first_, followers_.empty() ? table_.get(first_).told : beginning_);
  share_beginning();
}

void LiveRequest::preempt() {
  for (const SequenceId sequence : sequences) table_.pause(sequence);
  followers_.clear();
  runs_ = false;
  ++preemptions_;
}

void LiveRequest::drop_all() {
  followers_.clear();
  while (!sequences.empty()) drop(sequences.back());
}

void LiveRequest::stop(std::int32_t choice) {
  if (!begun_) return;
  if (ran_ahead_)
    stopping_.push_back(choice);
  else
    strategy->stop(*this, choice);
}

void LiveRequest::after_step(std::vector<Output>& told) {
  share_beginning();
  if (waits() || strategy->finished()) return;
  for (const std::int32_t choice : stopping_) strategy->stop(*this, choice);
  stopping_.clear();
  ran_ahead_ = false;
  if (!strategy->finished()) strategy->advance(*this, told);
}

std::vector<SequenceId> LiveRequest::of_model(ModelSlot model) const {
  std::vector<SequenceId> all;
  std::copy_if(sequences.begin(), sequences.end(), std::back_inserter(all),
               [&](SequenceId s) { return table_.get(s).model == model; });
  return all;
}

/// Positions that all have in common, and that were run.
std::int32_t LiveRequest::common_beginning(const std::vector<SequenceId>& all) const {
  const std::vector<TokenId>& first = tokens(all.front());
  std::int32_t common = table_.get(all.front()).told;
  for (const SequenceId sequence : all) {
    const auto& other = table_.get(sequence);
    common = std::min(common, other.told);
    common = static_cast<std::int32_t>(
        std::mismatch(first.begin(), first.begin() + common, other.tokens.begin()).first - first.begin());
  }
  return common;
}

/// Once the beginning is there, all go on from it.
void LiveRequest::share_beginning() {
  if (followers_.empty() || table_.get(first_).done < beginning_) return;
  for (const SequenceId follower : followers_) table_.adopt(follower, first_);
  followers_.clear();
}

bool LiveRequest::follows(SequenceId sequence) const {
  return std::find(followers_.begin(), followers_.end(), sequence) != followers_.end();
}

/// Some sequence has rows left to run.
bool LiveRequest::waits() const {
  return std::any_of(sequences.begin(), sequences.end(),
                     [&](SequenceId s) { return table_.get(s).waiting() > 0; });
}

std::int32_t LiveRequest::rows_of(SequenceId sequence) const {
  if (follows(sequence)) return 0;
  const SequenceTable::Sequence& s = table_.get(sequence);
  return !followers_.empty() && sequence == first_ ? beginning_ - s.done : s.waiting();
}

bool LiveRequest::decodes(SequenceId sequence) const {
  const SequenceTable::Sequence& s = table_.get(sequence);
  return s.done >= std::max(static_cast<std::int32_t>(prompt.size()), s.told);
}

std::int64_t LiveRequest::most_sequences() const {
  return begun_ ? strategy->most_sequences() : needs.sequences;
}

std::int64_t LiveRequest::pages_of_tokens(ModelSlot model, std::size_t cache,
                                          const SchedulerLimits& limits) const {
  const std::int64_t most = limits.most_held_pages(limits.caches_of(model)[cache]);
  const auto pages = [&](std::size_t positions) {
    return (static_cast<std::int64_t>(positions) + limits.page_tokens - 1) / limits.page_tokens;
  };
  const auto to_start = [&](const std::vector<TokenId>& all, std::int32_t most_kept) {
    const std::int64_t held = table_.held_pages(model, cache, all, most_kept, adapter);
    return std::max<std::int64_t>(0, std::min(pages(all.size()), most) - held);
  };
  if (!begun_) {
    if (model == ModelSlot::kDraft) return needs.draft ? std::min(pages(prompt.size()), most) : 0;
    return to_start(prompt, reuses_ ? static_cast<std::int32_t>(prompt.size()) - 1 : 0);
  }
  const std::vector<SequenceId> all = of_model(model);
  if (all.empty()) return 0;
  // Which of them will run a beginning for all, or does already.
  const bool goes_on_together = model == ModelSlot::kMain && (runs_ ? !followers_.empty() : all.size() > 1);
  const SequenceId first = runs_ ? first_ : all.front();
  const std::int32_t beginning = !goes_on_together ? 0 : runs_ ? beginning_ : common_beginning(all);
  std::int64_t sum = 0;
  for (const SequenceId id : all) {
    const SequenceTable::Sequence& s = table_.get(id);
    if (goes_on_together && id != first)
      sum += std::min(pages(s.tokens.size()) - beginning / limits.page_tokens, most);
    else if (runs_)
      sum += std::min(table_.pages_to_take(id, s.waiting())[cache], most);
    else if (model == ModelSlot::kMain)
      sum += to_start(s.tokens, goes_on_together ? beginning : s.told);
    else
      sum += std::min(pages(s.tokens.size()), most);
  }
  return sum;
}

std::vector<std::int64_t> LiveRequest::pages_to_come(const SchedulerLimits& limits,
                                                     std::int64_t growth) const {
  std::size_t shortest = begun_ ? static_cast<std::size_t>(needs.positions) : prompt.size();
  for (const SequenceId sequence : sequences) shortest = std::min(shortest, tokens(sequence).size());
  const std::int64_t held = static_cast<std::int64_t>(shortest) / limits.page_tokens;
  const std::int64_t whole = (needs.positions + limits.page_tokens - 1) / limits.page_tokens;
  const std::int64_t grown = most_sequences() * std::min(growth, std::max<std::int64_t>(0, whole - held));
  std::vector<std::int64_t> all;
  for (const ModelSlot model : {ModelSlot::kMain, ModelSlot::kDraft})
    for (std::size_t c = 0; c < limits.caches_of(model).size(); ++c)
      all.push_back(pages_of_tokens(model, c, limits) +
                    (model == ModelSlot::kMain || needs.draft ? grown : 0));
  return all;
}

}  // namespace llm_tp

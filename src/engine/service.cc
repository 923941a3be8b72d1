#include "engine/service.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {

using Clock = std::chrono::steady_clock;

std::int64_t most_positions(const Leader& leader, std::int64_t context) {
  return std::min(context, leader.scheduler().limits().most_positions());
}

EngineService::EngineService(Leader& leader, std::int64_t most_sequences)
    : leader_(leader), most_sequences_(most_sequences) {
  publish();
}

JobId EngineService::submit(Job job) {
  LLM_TP_CHECK(!job.sequences.empty() && job.listener != nullptr, "a job without sequences or listener");
  const JobId id = next_id_++;
  waiting_count_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(id, std::move(job));
  }
  arrived_.notify_one();
  return id;
}

void EngineService::cancel(JobId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  arrived_.notify_one();
}

void EngineService::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    published_.draining = true;
  }
  arrived_.notify_one();
}

void EngineService::stop() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = stopping_ = true;
    published_.draining = true;
  }
  arrived_.notify_one();
}

ServiceState EngineService::state() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

void EngineService::take_inbox() {
  std::vector<std::pair<JobId, Job>> arrived;
  std::vector<JobId> cancelled;
  bool draining = false;
  {
    const std::lock_guard lock(mutex_);
    arrived.swap(inbox_);
    cancelled.swap(cancelled_);
    draining = draining_;
  }
  for (auto& [id, job] : arrived) {
    if (draining) {
      waiting_count_.fetch_sub(1, std::memory_order_relaxed);
      job.listener->over(JobEnd::kRefused, "the server is shutting down");
      continue;
    }
    if (job.deadline) deadlines_.emplace(*job.deadline, id);
    jobs_[id].job = std::move(job);
    waiting_.push_back(id);
  }
  for (JobId id : cancelled) end(id, JobEnd::kCancelled, {});
}

void EngineService::expire() {
  if (deadlines_.empty()) return;
  const auto now = Clock::now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now)
    end(deadlines_.begin()->second, JobEnd::kTimedOut, {});
}

/// First come first served: a job whose turn it is starts its sequences as room comes, and nobody overtakes.
void EngineService::start_waiting() {
  while (!waiting_.empty() && static_cast<std::int64_t>(places_.size()) < most_sequences_) {
    const JobId id = waiting_.front();
    Live& live = jobs_.at(id);
    const std::size_t sequence = live.started++;
    if (sequence == 0) {
      waiting_count_.fetch_sub(1, std::memory_order_relaxed);
      ++started_jobs_;
    }
    if (live.started == live.job.sequences.size()) waiting_.pop_front();
    try {
      const RequestId request = leader_.scheduler().add(std::move(live.job.sequences[sequence]));
      live.requests.push_back(request);
      places_[request] = {id, sequence};
    } catch (const Error& error) {
      end(id, JobEnd::kRefused, error.what());
    }
  }
}

/// Forgets one sequence, and tells the job's listener where it was the last one.
void EngineService::finish_sequence(RequestId request) {
  const auto at = places_.find(request);
  const JobId id = at->second.job;
  places_.erase(at);
  Live& live = jobs_.at(id);
  std::erase(live.requests, request);
  if (++live.ended == live.job.sequences.size()) end(id, JobEnd::kDone, {});
}

void EngineService::end(JobId id, JobEnd how, const std::string& reason) {
  const auto at = jobs_.find(id);
  if (at == jobs_.end()) return;
  Live live = std::move(at->second);
  jobs_.erase(at);
  for (RequestId request : live.requests) {
    leader_.scheduler().cancel(request);
    places_.erase(request);
  }
  if (live.started < live.job.sequences.size()) std::erase(waiting_, id);
  if (live.started == 0)
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
  else
    --started_jobs_;
  if (live.job.deadline) {
    auto [first, last] = deadlines_.equal_range(*live.job.deadline);
    deadlines_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == id; }));
  }
  publish();  // first: who has an answer must not find itself among the running
  live.job.listener->over(how, reason);
}

void EngineService::on_progress(const Progress& progress) {
  const auto at = places_.find(progress.request);
  if (at == places_.end()) return;  // its job was ended by a sequence before it in this step
  const Place place = at->second;
  if (progress.new_token) ++state_.generated_tokens;
  const bool goes_on = jobs_.at(place.job).job.listener->progress(place.sequence, progress);
  if (!goes_on && !progress.finished) leader_.scheduler().cancel(progress.request);
  if (!goes_on || progress.finished) finish_sequence(progress.request);
}

bool EngineService::step() {
  take_inbox();
  expire();
  start_waiting();
  const auto before = leader_.times();
  const bool ran = leader_.step([this](const Progress& progress) { on_progress(progress); });
  if (ran) {
    const auto& after = leader_.times();
    ++state_.steps;
    state_.step_rows =
        (after.prefill_tokens + after.decode_tokens) - (before.prefill_tokens + before.decode_tokens);
    state_.step_seconds = after.prefill_seconds + after.decode_seconds;
    state_.prompt_tokens += static_cast<std::uint64_t>(after.prefill_tokens - before.prefill_tokens);
  }
  publish();
  return ran;
}

void EngineService::publish() {
  state_.jobs_waiting = waiting();
  state_.jobs_running = started_jobs_;
  state_.pages = leader_.scheduler().limits().main_pages();
  state_.sequences_running = static_cast<std::int64_t>(places_.size());
  state_.pages_in_use = leader_.scheduler().pages_in_use();
  const std::lock_guard lock(mutex_);
  const bool draining = published_.draining;
  published_ = state_;
  published_.draining = draining;
}

void EngineService::run() {
  while (true) {
    const bool ran = step();
    std::unique_lock lock(mutex_);
    if (stopping_) {
      lock.unlock();
      take_inbox();
      while (!jobs_.empty()) end(jobs_.begin()->first, JobEnd::kCancelled, {});
      publish();
      return;
    }
    if (ran || !jobs_.empty()) continue;
    arrived_.wait(lock, [&] { return draining_ || !inbox_.empty() || !cancelled_.empty(); });
    if (draining_ && inbox_.empty()) return;
  }
}

}  // namespace llm_tp

#include "engine/service.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {

using Clock = std::chrono::steady_clock;

std::int64_t most_positions(const Leader& leader, std::int64_t context) {
  return std::min(context, leader.scheduler().limits().most_positions());
}

EngineService::EngineService(Leader& leader) : leader_(leader) {
  leader_.report();  // memory and the like are known before the first step
  publish();
}

JobId EngineService::submit(Job job) {
  LLM_TP_CHECK(!job.requests.empty() && job.listener != nullptr, "a job without requests or listener");
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
    take(id, std::move(job));
  }
  for (JobId id : cancelled) end(id, JobEnd::kCancelled, {});
}

void EngineService::take(JobId id, Job job) {
  if (job.deadline) deadlines_.emplace(*job.deadline, id);
  Live& live = jobs_[id];
  live.listener = std::move(job.listener);
  live.deadline = job.deadline;
  try {
    for (std::size_t i = 0; i < job.requests.size(); ++i)
      for (Request& part : parts_of(std::move(job.requests[i]))) {
        const std::int32_t first = part.stream - job.requests[i].stream;
        const auto answers = static_cast<std::size_t>(answers_of(part));
        const RequestId request = leader_.scheduler().add(std::move(part));
        live.requests.push_back(request);
        places_[request] = {id, i, first, std::vector<bool>(answers)};
      }
  } catch (const Error& error) {
    end(id, JobEnd::kRefused, error.what());
  }
}

/// The request, or where not all of its choices may run at the same time several with some of them each.
std::vector<Request> EngineService::parts_of(Request&& request) const {
  const std::int32_t most = leader_.scheduler().most_choices(request), all = request.choices;
  std::vector<Request> parts;
  for (std::int32_t first = 0; first < all; first += most) {
    Request& part = parts.emplace_back(request);
    part.stream += first;
    part.choices = std::min(most, all - first);
  }
  return parts;
}

void EngineService::expire() {
  if (deadlines_.empty()) return;
  const auto now = Clock::now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now)
    end(deadlines_.begin()->second, JobEnd::kTimedOut, {});
}

void EngineService::start_waiting() {
  for (const RequestId request : leader_.scheduler().start_waiting()) {
    Live& live = jobs_.at(places_.at(request).job);
    if (live.started) continue;
    live.started = true;
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
    ++started_jobs_;
  }
}

/// Forgets one request, and tells the job's listener where it was the last one.
void EngineService::finish_request(RequestId request) {
  const auto at = places_.find(request);
  const JobId id = at->second.job;
  places_.erase(at);
  Live& live = jobs_.at(id);
  std::erase(live.requests, request);
  if (live.requests.empty()) end(id, JobEnd::kDone, {});
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
  if (live.started)
    --started_jobs_;
  else
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
  if (live.deadline) {
    auto [first, last] = deadlines_.equal_range(*live.deadline);
    deadlines_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == id; }));
  }
  publish();  // first: who has an answer must not find itself among the running
  live.listener->over(how, reason);
}

void EngineService::on_progress(const Progress& progress) {
  const auto at = places_.find(progress.request);
  if (at == places_.end()) return;  // its job was ended by a request before it in this step
  Place& place = at->second;
  const auto answer = static_cast<std::size_t>(progress.choice);
  if (place.ended.at(answer)) return;  // a token of the same step, behind the last one that was wanted
  if (progress.new_token) ++state_.generated_tokens;
  Progress of_all = progress;
  of_all.choice += place.first_choice;
  const bool goes_on = jobs_.at(place.job).listener->progress(place.request, of_all);
  if (goes_on && !progress.finished) return;
  place.ended[answer] = true;
  if (std::find(place.ended.begin(), place.ended.end(), false) == place.ended.end()) {
    leader_.scheduler().cancel(progress.request);
    finish_request(progress.request);
  } else if (!progress.finished) {
    leader_.scheduler().cancel(progress.request, progress.choice);
  }
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
    state_.last_step_seconds = state_.step_seconds - before.prefill_seconds - before.decode_seconds;
    state_.prompt_tokens += static_cast<std::uint64_t>(after.prefill_tokens - before.prefill_tokens);
  }
  publish();
  if (ran && watcher_) watcher_(state_);
  return ran;
}

void EngineService::publish() {
  state_.jobs_waiting = waiting();
  state_.jobs_running = started_jobs_;
  state_.pages = leader_.scheduler().limits().main_pages();
  state_.sequences_running = leader_.scheduler().sequences_running();
  state_.requests_waiting = leader_.scheduler().requests_waiting();
  const ScheduleFigures& figures = leader_.scheduler().figures();
  state_.waits_for = figures.waits_for;
  state_.preemptions = figures.preemptions;
  state_.preempted_tokens = figures.preempted_tokens;
  state_.pages_in_use = leader_.scheduler().pages_in_use();
  state_.rank_times = leader_.rank_times().totals();
  state_.rank_reports = leader_.last_reports();
  state_.straggler = leader_.rank_times().straggler();
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

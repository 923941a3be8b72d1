#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/leader.h"

namespace llm_tp {

using JobId = std::uint64_t;

enum class JobEnd { kDone, kCancelled, kTimedOut, kRefused };

/// Hears what happens to the requests of one job. Called on the engine's thread, between two steps: it must
/// not wait for anything.
class JobListener {
 public:
  virtual ~JobListener() = default;
  /// Each scored row, in order, of the job's request of that index; progress.choice is one of its answers.
  /// Returns false once that answer has all it wants (a stop text): it runs no further step, and this was its
  /// last progress. The request's other choices go on.
  virtual bool progress(std::size_t request, const Progress& progress) = 0;
  /// The last call. `reason` says why for kRefused.
  virtual void over(JobEnd end, const std::string& reason) = 0;
};

/// What was asked for together and is answered together: the prompts of one API request, each with all its
/// choices.
struct Job {
  std::vector<Request> requests;  // at least one
  std::shared_ptr<JobListener> listener;
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

/// Positions that one sequence may have: the context's, unless the KV cache is smaller.
std::int64_t most_positions(const Leader& leader, std::int64_t context);

/// Numbers for gauges; a moment's view.
struct ServiceState {
  std::int64_t jobs_waiting = 0, jobs_running = 0;
  std::int64_t sequences_running = 0;
  // Requests in the scheduler that have not begun or were preempted, and what the first of them lacks.
  std::int64_t requests_waiting = 0;
  WaitsFor waits_for = WaitsFor::kNothing;
  std::int64_t preemptions = 0, preempted_tokens = 0;  // since the start
  std::int64_t pages_in_use = 0, pages = 0;
  std::uint64_t steps = 0;
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;  // rows run, tokens chosen, since the start
  std::int64_t step_rows = 0;                             // of the last step
  double step_seconds = 0;                                // all steps together
  double last_step_seconds = 0;
  std::vector<RankTime> rank_times;      // since the start, as of the last step that scored a row
  std::vector<RankReport> rank_reports;  // as of the same step
  RankTimes::Straggler straggler;
  bool draining = false;
};

/// Many jobs on one group of ranks: they arrive from any thread, run together step by step, and each hears of
/// its progress. In which order their requests start is the scheduler's business. The engine's thread alone
/// touches ranks: it calls step() or run().
class EngineService {
 public:
  explicit EngineService(Leader& leader);

  // Any thread:
  /// The job waits from now on. Once draining, it is over at once (kRefused).
  JobId submit(Job job);
  /// The job is over before the next step, running or waiting; unknown ids are ignored.
  void cancel(JobId id);
  /// No more jobs are taken; run() returns when those it has are over.
  void drain();
  /// run() cancels what it has, and returns.
  void stop();
  ServiceState state() const;
  /// Of the ranks; never changes.
  const std::vector<RankPlace>& places() const noexcept { return leader_.places(); }
  std::int64_t most_sequences() const noexcept { return leader_.scheduler().limits().sequences; }
  /// Jobs that wait, as of this moment, those in the inbox too.
  std::int64_t waiting() const noexcept { return waiting_count_.load(std::memory_order_relaxed); }

  // The engine's thread:
  /// Takes what arrived and runs one step. False where there was nothing to run.
  bool step();
  /// Called after every step, on the engine's thread; it must not wait for anything. To be set before the
  /// first step.
  void watch(std::function<void(const ServiceState&)> watcher) { watcher_ = std::move(watcher); }
  /// Steps until drained or stopped, and sleeps while there is nothing to do.
  void run();

 private:
  struct Live {
    std::shared_ptr<JobListener> listener;
    std::optional<std::chrono::steady_clock::time_point> deadline;
    std::vector<RequestId> requests;  // that are not over
    bool started = false;             // one of them at least
  };
  struct Place {
    JobId job;
    std::size_t request;        // of the job
    std::int32_t first_choice;  // of the request: it may run in parts
    std::vector<bool> ended;    // of each answer
  };
  void take_inbox();
  void take(JobId id, Job job);
  std::vector<Request> parts_of(Request&& request) const;
  void expire();
  void start_waiting();
  void on_progress(const Progress& progress);
  void finish_request(RequestId request);
  void end(JobId id, JobEnd how, const std::string& reason);
  void publish();

  Leader& leader_;

  mutable std::mutex mutex_;  // guards the inbox and the published state
  std::condition_variable arrived_;
  std::vector<std::pair<JobId, Job>> inbox_;
  std::vector<JobId> cancelled_;
  ServiceState published_;
  bool draining_ = false, stopping_ = false;
  std::atomic<JobId> next_id_{1};
  std::atomic<std::int64_t> waiting_count_{0};

  // The engine's thread alone:
  std::unordered_map<JobId, Live> jobs_;
  std::int64_t started_jobs_ = 0;  // of jobs_
  std::unordered_map<RequestId, Place> places_;
  std::multimap<std::chrono::steady_clock::time_point, JobId> deadlines_;
  ServiceState state_;
  std::function<void(const ServiceState&)> watcher_;
};

}  // namespace llm_tp

#pragma once
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/engine_config.h"
#include "engine/service.h"
#include "serve/job_lock.h"
#include "serve/journal.h"
#include "serve/manifest.h"
#include "serve/run_report.h"
#include "serve/served_model.h"

namespace llm_tp {

struct BatchSummary {
  std::int64_t total = 0;      // lines that ask for something
  std::int64_t completed = 0;  // answers in the output, those of earlier runs too
  std::int64_t failed = 0;     // lines in the error file
  std::int64_t resumed = 0;    // answers that were there at the start
  bool stopped = false;        // before the end of the input: run it again
};

/// A file of requests, answered into a file of records: one record an id, whatever interrupts it. The files
/// are opened and locked before anything is loaded. One thread: the engine's.
class BatchJob {
 public:
  /// Errors: kUsage for missing paths or an output that is the input; kMissingFile; those of JobLock,
  /// Manifest and Journal.
  BatchJob(const BatchConfig& config, JobIdentity identity);
  /// Says when to stop: before the batch system does. Looked at between steps.
  using StopReason = std::function<std::optional<std::string>()>;
  /// report, which hears of every request and step, may be null. Errors: those of Journal and JobLock.
  BatchSummary run(EngineService& service, const ServedModel& model, std::int64_t most_sequences,
                   const StopReason& stop_reason, RunReport* report = nullptr);

 private:
  class Answering;
  using Clock = std::chrono::steady_clock;
  bool start_next(EngineService& service, const ServedModel& model);
  void refuse(std::int64_t line, const std::string& custom_id, int status, const std::string& body);
  void collect();
  void tell_progress(bool last);
  void keep_up(bool now);

  BatchConfig config_;
  LineReader input_;
  std::unique_ptr<JobLock> lock_;
  std::unique_ptr<Manifest> manifest_;
  std::unique_ptr<Journal> journal_;
  std::ofstream errors_;
  std::vector<std::shared_ptr<Answering>> running_;
  std::int64_t running_sequences_ = 0;
  CallMeter* meter_ = nullptr;
  BatchSummary summary_;
  std::uint64_t generated_ = 0;
  Clock::time_point began_ = Clock::now(), told_ = began_, synced_ = began_;
};

/// Names, sizes and first bytes of a model's files, as one number in text: tells models apart without reading
/// them whole.
std::string model_fingerprint(const std::string& model);

}  // namespace llm_tp

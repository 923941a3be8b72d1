#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/service.h"
#include "serve/call_clock.h"
#include "serve/histogram.h"
#include "serve/time_series.h"

namespace llm_tp {

/// What a run did, as one HTML text with inline SVG: latencies, throughput, batch sizes, queue, cache, time
/// of each rank, the configuration. Memory does not grow with the run. Any thread.
class RunReport : public CallMeter {
 public:
  /// title: "serve of NAME"; configuration: as text.
  RunReport(std::string title, std::string configuration);
  void first_token(double seconds) override;
  void token_gap(double seconds) override;
  void whole(double seconds) override;
  void tokens(const Usage& usage) override;
  /// Of a step that is over. The engine's thread.
  void observe(const ServiceState& state, const std::vector<RankPlace>& places);
  std::string html() const;

 private:
  using Clock = std::chrono::steady_clock;
  double now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  std::string tiles() const;
  std::string latencies() const;
  std::string charts() const;

  const std::string title_, configuration_;
  const Clock::time_point began_ = Clock::now();
  const std::string began_text_;
  mutable std::mutex mutex_;  // guards all below
  Histogram first_token_, token_gap_, whole_;
  Usage usage_;
  ServiceState last_;
  std::vector<std::string> rank_names_;
  TimeSeries generated_, prompt_;           // tokens; sums
  TimeSeries sequences_, waiting_, pages_;  // of each step; means
  TimeSeries cached_, asked_;               // prompt tokens of calls that are over; sums
};

/// Keeps a report's file fresh: written at once, every minute, and by finish(). A reader never sees half of
/// one.
class ReportFile {
 public:
  /// The report must outlive this. Errors: kIoError where the file cannot be written now.
  ReportFile(const RunReport& report, std::string path);
  ~ReportFile();
  /// The last time. A file that cannot be written any more is a warning: the run's answers are worth more.
  void finish();

 private:
  void write() const;
  const RunReport& report_;
  std::string path_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace llm_tp

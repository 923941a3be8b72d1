#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace llm_tp {

struct BatchSummary;

/// What a batch job's answers depend on, and where this run of it happens.
struct JobIdentity {
  std::string model_fingerprint;
  std::string configuration = "{}";                           // of every key, as `config show --json` has it
  std::vector<std::pair<std::string, std::string>> run = {};  // versions, ranks and the like, for readers
};

/// The file beside a job's output that says how it came about: input, model, configuration, and of each run
/// versions, ranks, begin, end and counts. One thread.
class Manifest {
 public:
  /// Reads what an earlier run left. fixed: paths and the like, for readers. Errors: kConfig where `output`
  /// holds answers and the earlier run had another model, or another value of a key that may change tokens.
  Manifest(std::string output, JobIdentity identity, std::vector<std::pair<std::string, std::string>> fixed);
  /// This run has begun. Errors: kIoError.
  void begin();
  /// It has ended by itself: without that a run's end stays null. Errors: kIoError.
  void end(const BatchSummary& summary);

 private:
  void check() const;
  void write(const std::string& ended, const BatchSummary* summary) const;

  std::string output_, path_;
  JobIdentity identity_;
  std::vector<std::pair<std::string, std::string>> fixed_;
  std::string earlier_;  // JSON; empty: there is none, or a torn one
  std::string began_;
};

}  // namespace llm_tp

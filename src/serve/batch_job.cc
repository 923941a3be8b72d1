#include "serve/batch_job.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "serve/api_error.h"
#include "serve/batch_line.h"
#include "serve/call_in_flight.h"
#include "serve/json_text.h"

namespace llm_tp {
namespace fs = std::filesystem;
using std::chrono::seconds;

namespace {
constexpr seconds kSyncEvery{1};  // so much work a dying host may cost
constexpr seconds kTellEvery{5};

class NoMeter : public CallMeter {
 public:
  void first_token(double) override {}
  void token_gap(double) override {}
  void whole(double) override {}
  void tokens(const Usage&) override {}
};
}  // namespace

/// One line while it runs.
class BatchJob::Answering : public CallInFlight {
 public:
  Answering(std::int64_t line, std::string custom_id, Call call, const ServedModel& model, CallMeter& meter)
      : CallInFlight(std::move(call), model, meter), line_(line), custom_id_(std::move(custom_id)) {}
  std::int64_t line() const noexcept { return line_; }
  const std::string& custom_id() const noexcept { return custom_id_; }
  std::int64_t sequences() const noexcept { return static_cast<std::int64_t>(call().choices()); }

 private:
  std::int64_t line_;
  std::string custom_id_;
};

BatchJob::BatchJob(const BatchConfig& config, JobIdentity identity)
    : config_(config), input_([&]() -> const std::string& {
        if (config.input.empty() || config.output.empty())
          throw Error(ExitCode::kUsage, "batch needs --input and --output");
        return config.input;
      }()) {
  if (config_.error_file.empty()) config_.error_file = config_.output + ".errors";
  std::error_code ignored;
  for (const std::string& path : {config_.output, config_.error_file})
    if (fs::equivalent(path, config_.input, ignored))
      throw Error(ExitCode::kUsage, path + " is the input as well; give another path");
  if (config_.error_file == config_.output)
    throw Error(ExitCode::kUsage, "--error-file and --output are one path; give two");
  lock_ = std::make_unique<JobLock>(config_.output + ".lock");
  manifest_ = std::make_unique<Manifest>(
      config_.output, std::move(identity),
      std::vector<std::pair<std::string, std::string>>{{"input", config_.input},
                                                       {"input_bytes", std::to_string(input_.size())},
                                                       {"output", config_.output},
                                                       {"error_file", config_.error_file}});
  journal_ = std::make_unique<Journal>(config_.output);
  // Refusals depend on the input alone: every run finds them again, so each run writes the file anew.
  errors_.open(config_.error_file, std::ios::trunc);
  if (!errors_) throw Error(ExitCode::kIoError, config_.error_file + ": cannot be written");
  manifest_->begin();
  summary_.resumed = summary_.completed = journal_->records();
  if (journal_->cut_bytes() > 0)
    log_info(config_.output + ": cut off a torn record of " + std::to_string(journal_->cut_bytes()) +
             " bytes");
  if (summary_.resumed > 0)
    log_info(config_.output + ": going on after " + std::to_string(summary_.resumed) + " answers");
}

void BatchJob::refuse(std::int64_t line, const std::string& custom_id, int status, const std::string& body) {
  errors_ << batch_refusal(line, custom_id, status, body) << '\n' << std::flush;
  if (!errors_)
    throw Error(ExitCode::kTryAgain,
                config_.error_file + ": cannot be written; make room and run the job again");
  ++summary_.failed;
}

/// Takes the next line that asks for something new. False at the end of the input.
bool BatchJob::start_next(EngineService& service, const ServedModel& model) {
  std::string text;
  while (input_.next(text)) {
    if (!input_.too_long() && text.find_first_not_of(" \t\r") == std::string::npos) continue;
    ++summary_.total;
    const std::int64_t line = input_.number();
    std::string custom_id;
    try {
      if (input_.too_long()) throw ApiError(413, "the line is longer than 16 MiB");
      const BatchLine parsed = parse_batch_line(text);
      const Journal::Meeting met = journal_->meet(parsed.custom_id);
      if (met == Journal::Meeting::kAnswered) continue;
      if (met == Journal::Meeting::kRepeated)
        throw ApiError(400, "custom_id: a line before has the same; only the first is answered", "custom_id");
      custom_id = parsed.custom_id;
      ApiRequest request = parse_api_request(parsed.endpoint, parsed.body);
      if (request.timeout)
        throw ApiError(400, "timeout: a batch file's answers may take their time", "timeout");
      if (request.stream) throw ApiError(400, "stream: a batch file's answers are not streamed", "stream");
      // A run that goes on must draw what the first would have drawn.
      const std::uint64_t seed = TextDigest::of(custom_id).high;
      auto answering = std::make_shared<Answering>(line, custom_id, model.prepare(std::move(request), seed),
                                                   model, *meter_);
      Job job;
      job.requests = answering->call().requests;
      job.listener = answering;
      running_sequences_ += answering->sequences();
      answering->job = service.submit(std::move(job));
      running_.push_back(std::move(answering));
      return true;
    } catch (const ApiError& error) {
      refuse(line, custom_id.empty() ? custom_id_of(text) : custom_id, error.status(), error.body());
    }
  }
  return false;
}

/// Writes what is finished.
void BatchJob::collect() {
  for (std::size_t i = 0; i < running_.size();) {
    const Answering& one = *running_[i];
    if (!one.end()) {
      ++i;
      continue;
    }
    if (one.end() == JobEnd::kDone) {
      journal_->append(batch_record(one.custom_id(), one.answer().body()));
      ++summary_.completed;
      generated_ += static_cast<std::uint64_t>(one.answer().usage().completion_tokens);
    } else if (one.end() == JobEnd::kRefused) {
      refuse(one.line(), one.custom_id(), 400, ApiError(400, one.reason()).body());
    } else {
      summary_.stopped = true;  // cancelled: the next run answers it
    }
    running_sequences_ -= one.sequences();
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void BatchJob::tell_progress(bool last) {
  const auto now = Clock::now();
  if (!last && now - told_ < kTellEvery) return;
  told_ = now;
  const double elapsed = std::max(1e-9, std::chrono::duration<double>(now - began_).count());
  const std::int64_t mine = summary_.completed - summary_.resumed;
  const double rate = static_cast<double>(mine) / elapsed;
  // How many lines there are is known at the end of the input; until then the bytes read tell.
  const double share =
      input_.size() > 0 ? static_cast<double>(input_.offset()) / static_cast<double>(input_.size()) : 1;
  const double total = share > 0 ? static_cast<double>(summary_.total) / share : 0;
  const double left = total - static_cast<double>(summary_.completed + summary_.failed);
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(),
                "%lld of %s%.0f answered, %lld refused; %.1f requests/s, %.0f tokens/s",
                static_cast<long long>(summary_.completed), share < 1 ? "about " : "", total,
                static_cast<long long>(summary_.failed), rate, static_cast<double>(generated_) / elapsed);
  std::string line = text.data();
  if (!last && rate > 0)
    line += "; about " + std::to_string(static_cast<std::int64_t>(left / rate) + 1) + " s left";
  log_info(line);
}

void BatchJob::keep_up(bool now) {
  if (!now && Clock::now() - synced_ < kSyncEvery) return;
  lock_->renew();
  journal_->sync();
  synced_ = Clock::now();
}

BatchSummary BatchJob::run(EngineService& service, const ServedModel& model, std::int64_t most_sequences,
                           const StopReason& stop_reason, RunReport* report) {
  NoMeter none;
  meter_ = &none;
  if (report != nullptr) {
    meter_ = report;
    service.watch([&](const ServiceState& state) { report->observe(state, service.places()); });
  }
  began_ = told_ = synced_ = Clock::now();
  bool more = true;
  std::optional<Clock::time_point> stopping;
  while (more || !running_.empty()) {
    if (!stopping) {
      if (const auto reason = stop_reason()) {
        stopping = Clock::now();
        log_info(*reason + ": no new request is started; those that run get " +
                 std::to_string(config_.drain_time) + " s");
      }
    } else if (Clock::now() - *stopping >= seconds(config_.drain_time)) {
      for (const auto& one : running_) service.cancel(one->job);
    }
    // Enough lines wait for the engine never to run dry, and no more: memory stays bounded.
    while (more && !stopping && running_sequences_ < 2 * most_sequences) more = start_next(service, model);
    service.step();
    keep_up(false);  // first: a job whose lock was taken writes nothing more
    collect();
    tell_progress(false);
    if (stopping && running_.empty()) break;
  }
  keep_up(true);
  summary_.stopped = summary_.stopped || more;
  tell_progress(true);
  manifest_->end(summary_);
  return summary_;
}

std::string model_fingerprint(const std::string& model) {
  std::string path = model;
  if (path.starts_with("dummy:")) path = path.substr(6);
  std::vector<fs::path> files;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    for (const auto& entry : fs::directory_iterator(path, ignored))
      if (entry.is_regular_file(ignored)) files.push_back(entry.path());
  } else {
    files.emplace_back(path);
  }
  std::sort(files.begin(), files.end());
  std::string text;
  for (const fs::path& file : files) {
    std::string begin(4096, '\0');
    std::ifstream in(file, std::ios::binary);
    in.read(begin.data(), static_cast<std::streamsize>(begin.size()));
    begin.resize(static_cast<std::size_t>(in.gcount()));
    text +=
        file.filename().string() + " " + std::to_string(fs::file_size(file, ignored)) + " " + begin + "\n";
  }
  const TextDigest digest = TextDigest::of(text);
  std::array<char, 40> hex{};
  std::snprintf(hex.data(), hex.size(), "%016llx%016llx", static_cast<unsigned long long>(digest.high),
                static_cast<unsigned long long>(digest.low));
  return hex.data();
}

}  // namespace llm_tp

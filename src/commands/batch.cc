#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "comm/mpi_group.h"
#include "commands/commands.h"
#include "commands/json_output.h"
#include "config/describe.h"
#include "engine/engine.h"
#include "git_revision.h"
#include "kernels/cpu/instruction_set.h"
#include "serve/batch_job.h"

namespace llm_tp {
namespace {

volatile std::sig_atomic_t told_to_stop = 0;

/// Batch systems send a signal to every rank; rank 0 alone acts on it, and the others end with it.
void listen_for_signals(bool leads) {
  struct sigaction action {};
  action.sa_handler = leads ? [](int) { told_to_stop = 1; } : SIG_IGN;
  for (const int signal : {SIGUSR1, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

/// What the manifest says of this run.
std::vector<std::pair<std::string, std::string>> run_facts(const Group& group, const EngineConfig& config) {
  return {{"version", LLM_TP_VERSION},
          {"revision", LLM_TP_GIT_REVISION},
          {"compiler", __VERSION__},
          {"mpi", mpi_library_version()},
          {"instruction_set", std::string(name_of(instruction_set()))},
          {"ranks", std::to_string(group.world())},
          {"threads", std::to_string(ModelChoices::of(config, group).threads)},
          {"host", group.host},
          {"communication", group.ranks.description()}};
}

std::int64_t context_of(const EngineConfig& config, const ModelFiles& files) {
  return config.max_context > 0 ? config.max_context : files.shape.context;
}

/// When the job has to have ended, in Unix time.
std::optional<std::time_t> end_of_job(const BatchConfig& config) {
  constexpr std::time_t kBeforeTheEnd = 60;  // for draining and writing
  if (config.stop_after) return std::time(nullptr) + static_cast<std::time_t>(*config.stop_after);
  const char* const end = std::getenv("SLURM_JOB_END_TIME");
  const long long seconds = end == nullptr ? 0 : std::atoll(end);
  if (seconds <= 0) return std::nullopt;
  return static_cast<std::time_t>(seconds) - kBeforeTheEnd;
}

}  // namespace

void batch_command(const Group& group, const CommandLine& line) {
  if (group.leads() || !group.one_device) listen_for_signals(group.leads());  // else in rank 0's process
  const EngineConfig& config = line.resolved.config;
  const std::optional<std::time_t> end = end_of_job(config.batch);
  const auto stop_reason = [&]() -> std::optional<std::string> {
    if (told_to_stop != 0) return "told to stop by a signal";
    if (end && std::time(nullptr) >= *end) return "the job's time is over";
    return std::nullopt;
  };
  std::unique_ptr<RunReport> report;
  std::unique_ptr<ReportFile> report_file;
  std::unique_ptr<BatchJob> job;
  const auto prepare = [&](ModelFiles& files) {
    std::string fingerprint = model_fingerprint(config.model);
    for (const std::string& adapter : config.adapters)
      fingerprint += " " + adapter.substr(0, adapter.find('=') + 1) +
                     model_fingerprint(adapter.substr(adapter.find('=') + 1));
    if (!config.merge_adapter.empty()) fingerprint += " merged " + config.merge_adapter;
    job = std::make_unique<BatchJob>(
        config.batch, JobIdentity{std::move(fingerprint), to_json(line.resolved), run_facts(group, config)});
    if (!config.report.empty()) {
      report = std::make_unique<RunReport>("batch of " + files.name, render_table(line.resolved));
      report_file = std::make_unique<ReportFile>(*report, config.report);
    }
    return LoadPlan::for_many(config, files);
  };
  // What goes wrong with the files must reach every rank as an end of its own, with one message and one code.
  std::optional<Error> failed;
  BatchSummary summary;
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double) {
    try {
      const ServedModel model(files, most_positions(leader, context_of(config, files)), config.tool_format,
                              config.served_model_name);
      EngineService service(leader);
      summary = job->run(service, model, config.max_batch, stop_reason, report.get());
      if (summary.stopped)
        failed.emplace(ExitCode::kTryAgain, std::to_string(summary.completed) +
                                                " answers are written; stopped before "
                                                "the end of the input: run the same command to go on");
    } catch (const Error& error) {
      if (error.code() == ExitCode::kBug || error.code() == ExitCode::kTryAgain) throw;
      failed = error;
    }
    job.reset();
    report_file.reset();
  });
  if (group.leads() && (!failed || summary.stopped)) {
    if (line.json)
      print_json({{"total", summary.total},
                  {"completed", summary.completed},
                  {"failed", summary.failed},
                  {"resumed", summary.resumed}});
    else
      std::printf("%lld of %lld answered (%lld from before), %lld refused\n",
                  static_cast<long long>(summary.completed), static_cast<long long>(summary.total),
                  static_cast<long long>(summary.resumed), static_cast<long long>(summary.failed));
  }
  agree(group, [&] {
    if (failed) throw Error(*failed);
  });
}

}  // namespace llm_tp

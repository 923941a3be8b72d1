#include <csignal>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "commands/commands.h"
#include "config/describe.h"
#include "engine/engine.h"
#include "serve/http_server.h"
#include "serve/run_report.h"

namespace llm_tp {

void serve_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  // Batch systems signal every rank; rank 0 alone acts on it, and the others end with it.
  if (!group.leads() && !group.one_device)  // ranks of one process share its signals
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) std::signal(signal, SIG_IGN);
  std::unique_ptr<RunReport> report;
  std::unique_ptr<ReportFile> report_file;
  std::unique_ptr<Api> api;
  std::unique_ptr<HttpServer> server;
  const std::string scheme = config.serve.tls_cert.empty() ? "http://" : "https://";
  const auto prepare = [&](ModelFiles& files) {
    const LoadPlan load = LoadPlan::for_many(config, files);
    if (!config.report.empty()) {
      report = std::make_unique<RunReport>("serve of " + files.name, render_table(line.resolved));
      report_file = std::make_unique<ReportFile>(*report, config.report);
    }
    api = std::make_unique<Api>(config.serve, api_key_of_environment());
    server = std::make_unique<HttpServer>(config.serve, *api);
    log_info("listening at " + scheme + config.serve.host + ":" + std::to_string(server->port()) +
             "; loading " + files.name);
    return load;
  };
  run_engine(group, config, prepare, [&](Leader& leader, const ModelFiles& files, double load_seconds) {
    const std::int64_t context = config.max_context > 0 ? config.max_context : files.shape.context;
    const ServedModel model(files, most_positions(leader, context), config.tool_format,
                            config.served_model_name);
    EngineService service(leader);
    api->open(model, service, report.get());
    log_info("ready after " + std::to_string(load_seconds).substr(0, 5) + " s: " + model.name() + ", " +
             std::to_string(model.most_positions()) + " positions, " + std::to_string(config.max_batch) +
             " sequences at a time");
    std::printf("%s%s:%d\n", scheme.c_str(), config.serve.host.c_str(), server->port());
    std::fflush(stdout);
    try {
      service.run();
    } catch (...) {
      server->abandon();  // nobody will answer its connections any more
      throw;
    }
    server->finish();
    report_file.reset();
    log_info("stopped");
  });
}

}  // namespace llm_tp

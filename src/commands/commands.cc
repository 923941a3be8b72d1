#include "commands/commands.h"

#include <cstdio>

#include "base/log.h"
#include "commands/one_of_many.h"
#include "commands/standard_output.h"

namespace llm_tp {

namespace {

void run(const Group& group, const CommandLine& line) {
  if (!line.help.empty()) {
    if (group.leads()) std::fputs(line.help.c_str(), stdout);
    return;
  }
  if (line.command == "generate") return generate_command(group, line);
  if (line.command == "chat") return chat_command(group, line);
  if (line.command == "score") return score_command(group, line);
  if (line.command == "embed") return embed_command(group, line);
  if (line.command == "batch") return batch_command(group, line);
  if (line.command == "serve") return serve_command(group, line);
  if (line.command == "bench")
    return line.bench_action == "kernels" ? bench_kernels_command(group, line) : bench_command(group, line);
  if (line.command == "doctor") return doctor_command(group, line);
  agree(group, [&] {
    if (!group.leads()) return;
    if (line.command == "tokenize") tokenize_command(line);
    if (line.command == "inspect") inspect_command(line);
    if (line.command == "loadtest") loadtest_command(line);
    if (line.command == "config") config_command(line);
    if (line.command == "version") version_command(line);
  });
}

}  // namespace

void run_command(const Group& group, const CommandLine& line) {
  set_log_level(group.leads() ? line.resolved.config.log_level : LogLevel::kError);
  for (const std::string& warning : line.resolved.warnings) log_warning(warning);
  run_one_of_many(group, line.command, line.resolved.config, [&](const Group& ranks) { run(ranks, line); });
  // A job whose output was lost has not succeeded.
  agree(group, [&] {
    if (group.leads()) flush_stdout();
  });
}

}  // namespace llm_tp

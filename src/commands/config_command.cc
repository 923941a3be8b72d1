#include <cstdio>

#include "commands/commands.h"
#include "config/describe.h"

namespace llm_tp {

void config_command(const CommandLine& line) {
  // Errors were found while the command line was read: what comes here is a valid configuration.
  if (line.config_action == "check") {
    std::puts(line.json ? "{\"ok\":true}" : "the configuration is valid");
    return;
  }
  const std::string text = line.json ? to_json(line.resolved) + "\n" : render_table(line.resolved);
  std::fputs(text.c_str(), stdout);
}

}  // namespace llm_tp

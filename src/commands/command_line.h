#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "config/load_config.h"

namespace llm_tp {

/// What the command line and the configuration ask for.
struct CommandLine {
  std::string command;
  std::string help;  // not empty: print this and end
  ResolvedConfig resolved;
  bool json = false;
  // Of single commands; empty elsewhere.
  std::optional<std::vector<TokenId>> prompt_tokens;       // generate
  std::optional<std::string> text, text_file;              // score, tokenize
  std::optional<std::vector<TokenId>> tokens;              // score, embed
  std::optional<std::string> logits;                       // score: .npy to write
  std::optional<std::string> chat_file;                    // tokenize
  std::optional<std::vector<TokenId>> decode;              // tokenize
  bool add_generation_prompt = false, no_special = false;  // tokenize
  int ranks = 0;                                           // inspect, bench kernels
  std::string bench_action;                                // bench: empty or kernels
  std::string config_action;                               // config: show or check
};

/// Errors: kUsage for unknown commands, flags and values; those of load_config.
CommandLine parse_command_line(int argc, char** argv);

}  // namespace llm_tp

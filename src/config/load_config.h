#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/engine_config.h"
#include "config/key_table.h"

namespace llm_tp {

/// Everything that may set a key.
struct ConfigInputs {
  std::optional<std::filesystem::path> file;  // YAML
  std::vector<std::string> sets;              // --set: "section.key=value"
  std::vector<std::pair<std::string, std::string>>
      flags;                             // dotted key -> value; a repeatable flag comes several times
  std::vector<std::string> environment;  // "NAME=value"; names without LLM_TP_ are passed over
};

struct ResolvedConfig {
  EngineConfig config;
  std::map<std::string, Origin> origins;  // of every key of key_table(), by dotted name
  std::vector<std::string> warnings;      // unknown LLM_TP_* variables; rank 0 should log them
};

/// Resolves every key: flag > LLM_TP_* > --set > YAML > default. Within one level the last one wins, and the
/// items of text lists add up. A prompt and a prompt_file exclude each other: the stronger origin drops the
/// other one. Errors: kUsage for a wrong flag or a --set without "="; kMissingFile where the file cannot be
/// read; kConfig with "file:line:column" for its content and for wrong values of --set and LLM_TP_*.
ResolvedConfig load_config(const ConfigInputs& inputs);

/// The same from the text of a file alone; `name` stands for the file in messages.
ResolvedConfig load_config_text(std::string_view yaml, const std::string& name);

/// The process's variables that start with LLM_TP_, as "NAME=value". Not while another thread changes them.
std::vector<std::string> process_environment();

/// LLM_TP_API_KEY: what servers ask for and the load test shows. A secret, so no key of the configuration,
/// which is printed. Empty: not set.
std::string api_key_of_environment();

}  // namespace llm_tp

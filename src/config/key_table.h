#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "config/engine_config.h"

namespace llm_tp {

enum class KeyType : std::uint8_t {
  kText,
  kChoice,
  kInteger,
  kNumber,
  kBool,
  kBytes,
  kTextList,
  kIntegerList,
  kNumberList
};

/// A key's value as `config show` prints it; monostate: not set.
using KeyValue = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                              std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

/// Which of several items was refused, and what to write instead (may be empty: the allowed range says it).
struct Refusal {
  std::size_t item = 0;
  std::string hint;
};

/// One key of the configuration. YAML, LLM_TP_* variables, --set, flags, `config show` and docs/config.md all
/// go through it.
struct KeyInfo {
  std::string name;  // dotted: "max_context", "generation.top_p"
  std::string
      flag;  // "--max-context"; empty: the key has no flag. Flags of section bench belong to `bench` alone.
  KeyType type = KeyType::kText;
  std::string unit;     // of a number: "tokens"; may be empty
  std::string allowed;  // as messages and the documentation say it: "a whole number, 1 to 1024"
  std::string unset;    // what a value that is not set means; empty where there always is one
  std::string help;     // one line

  /// Sets the key from its items: one for a plain value, any number for a list. Leaves the config as it was
  /// where it refuses.
  std::function<std::optional<Refusal>(EngineConfig&, std::span<const std::string>)> set;
  std::function<KeyValue(const EngineConfig&)> get;

  bool is_list() const noexcept { return type >= KeyType::kTextList; }
  /// --chat stands alone; pass "true" as its value.
  bool takes_value() const noexcept { return type != KeyType::kBool; }
  /// --stop A --stop B: each flag adds an item. Lists of numbers are written with commas instead: 1,2,3.
  bool is_repeatable() const noexcept { return type == KeyType::kTextList; }
  /// LLM_TP_GENERATION_TOP_P for generation.top_p.
  std::string environment_name() const;
};

/// Who set a value: later ones win.
enum class OriginKind : std::uint8_t { kDefault, kFile, kSet, kEnvironment, kFlag };

struct Origin {
  OriginKind kind = OriginKind::kDefault;
  std::string text = "default";  // "file.yaml:12:3", "--set", "LLM_TP_THREADS", "flag --threads"

  /// What a wrong value means for the process: kUsage for a flag, else kConfig.
  ExitCode code() const noexcept { return kind == OriginKind::kFlag ? ExitCode::kUsage : ExitCode::kConfig; }
};

/// Every key, in the order of the documentation. Built once; any thread may read.
std::span<const KeyInfo> key_table();

/// The key of that dotted name, or null.
const KeyInfo* find_key(std::string_view name);

/// Whether keys "section.…" exist.
bool is_section(std::string_view name);

/// The known key or section that `name` was probably meant to be, or empty. `section` is where it was
/// written.
std::string nearest_key(std::string_view section, std::string_view name);

/// "unknown key "x"; did you mean "y"?"
std::string unknown_key_message(std::string_view section, std::string_view name);

/// The error of a refused value: "ORIGIN: KEY: found …, wanted …; hint".
Error refused_value(const KeyInfo& key, std::string_view found, const std::string& hint,
                    const Origin& origin);

/// The items of a value that is given as one text: lists of numbers are cut at commas (brackets around are
/// allowed), everything else is one item.
std::vector<std::string> items_of(const KeyInfo& key, std::string_view text);

/// Sets one key from text. Errors: origin.code(), for an unknown key or a value out of range.
void set_key(EngineConfig& config, std::string_view name, std::string_view text, const Origin& origin);

/// A value as text that set_key takes back; lists as "[1, 2]"; "" for one that is not set.
std::string text_of(const KeyValue& value);

}  // namespace llm_tp

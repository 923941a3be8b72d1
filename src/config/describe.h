#pragma once
#include <string>

#include "config/load_config.h"

namespace llm_tp {

/// `config show`: a line per key, "key  value  origin", in columns. A value nobody set shows what that means
/// in ().
std::string render_table(const ResolvedConfig& resolved);

/// `config show --json`: {"key": {"value": …, "origin": "…"}}, keys dotted and in the table's order; null:
/// not set.
std::string to_json(const ResolvedConfig& resolved);

/// The table of docs/config.md, in Markdown: one row per key.
std::string render_key_reference();

}  // namespace llm_tp

#pragma once
#include <string>

#include "text/jinja/value.h"

namespace llm_tp::jinja {

/// Python's str(): what {{ }} prints.
std::string to_text(const Value& value);
/// Python's repr(): how a value stands inside a printed list.
std::string to_repr(const Value& value);
/// Python's repr of a float: the shortest digits that give it back.
std::string shortest_float(double number);

/// Python's json.dumps, with transformers' defaults for templates.
struct JsonStyle {
  int indent = -1;  // spaces a level; below 0: one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ", key_separator = ": ";
};
/// Errors: Failure for what JSON has no form for.
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace llm_tp::jinja

#include "config/describe.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <variant>

#include "config/key_table.h"
#include "config/parse_value.h"

namespace llm_tp {
namespace {

std::string shown(const KeyInfo& key, const KeyValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return "(" + key.unset + ")";
  // Prompts may have many lines and anything in them.
  if (key.type == KeyType::kText) return in_quotes(std::get<std::string>(value));
  return text_of(value);
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string code(const std::string& text) { return text.empty() ? "" : "`" + text + "`"; }

}  // namespace

std::string render_table(const ResolvedConfig& resolved) {
  constexpr std::size_t kWidestValue = 40;  // a longer one pushes its origin to the right, not everyone's
  std::size_t name_width = 0, value_width = 0;
  for (const KeyInfo& key : key_table()) {
    name_width = std::max(name_width, key.name.size());
    value_width = std::max(value_width, std::min(kWidestValue, shown(key, key.get(resolved.config)).size()));
  }
  std::string out;
  for (const KeyInfo& key : key_table())
    out += padded(key.name, name_width) + "  " + padded(shown(key, key.get(resolved.config)), value_width) +
           "  " + resolved.origins.at(key.name).text + "\n";
  return out;
}

std::string to_json(const ResolvedConfig& resolved) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const KeyInfo& key : key_table()) {
    nlohmann::ordered_json value;
    std::visit(
        [&value](const auto& v) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(v)>, std::monostate>) value = v;
        },
        key.get(resolved.config));
    out[key.name] = {{"value", value}, {"origin", resolved.origins.at(key.name).text}};
  }
  // A variable or a path may hold bytes that are not UTF-8; showing them must not fail.
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string render_key_reference() {
  const EngineConfig defaults;
  std::string out =
      "| key | flag | variable | default | unit | allowed | meaning |\n|---|---|---|---|---|---|---|\n";
  for (const KeyInfo& key : key_table()) {
    const KeyValue value = key.get(defaults);
    const std::string text = text_of(value);
    std::string standard = code(text);
    if (std::holds_alternative<std::monostate>(value)) standard = key.unset;
    if (key.name == "model") standard = "none";
    out += "| " + code(key.name) + " | " + code(key.flag) + " | " + code(key.environment_name()) + " | " +
           standard + " | " + key.unit + " | " + key.allowed + " | " + key.help + " |\n";
  }
  return out;
}

}  // namespace llm_tp

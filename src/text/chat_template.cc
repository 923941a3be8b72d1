#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/memory_budget.h"
#include "text/jinja/syntax.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxSource = std::size_t{1} << 20;
constexpr int kMaxJsonDepth = 100;

[[noreturn]] void bad_json(const char* what, const std::string& found) {
  throw Error(ExitCode::kBadData, std::string("chat template: ") + what + ": " + found);
}

/// Errors: kBadData for what is no JSON or nested too deep, naming `what`.
Json parse(const std::string& text, const char* what) {
  try {
    return Json::parse(text, [what](int depth, Json::parse_event_t, Json&) {
      if (depth > kMaxJsonDepth)
        bad_json(what, "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
      return true;
    });
  } catch (const Json::exception& error) {
    bad_json(what, error.what());
  }
}

jinja::Value value_of(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return json.get<std::int64_t>();
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX)) bad_json("a number", "an integer beyond 64 bits");
      return static_cast<std::int64_t>(number);
    }
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return json.get<std::string>();
    case Json::value_t::array: {
      std::vector<jinja::Value> items;
      for (const Json& item : json) items.push_back(value_of(item));
      return jinja::make_list(std::move(items));
    }
    case Json::value_t::object: {
      jinja::Mapping mapping;
      for (const auto& [key, item] : json.items()) mapping.set(key, value_of(item));
      return jinja::make_mapping(std::move(mapping));
    }
    default:
      return jinja::None{};
  }
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(const std::string& source) : program_(std::make_unique<Program>()) {
  if (source.size() > kMaxSource)
    throw Error(ExitCode::kBadData, "chat template: " + std::to_string(source.size()) + " bytes, at most " +
                                        std::to_string(kMaxSource) + " are read");
  if (const auto at = first_invalid_utf8(source))
    throw Error(ExitCode::kBadData, "chat template: byte " + std::to_string(*at) + " is not UTF-8");
  program_->body = jinja::parse_template(source);
}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const std::string& messages_json, const ChatOptions& options,
                                 const std::string& extra_json) const {
  const Json messages = parse(messages_json, "the messages");
  if (!messages.is_array()) bad_json("the messages", "a JSON list of messages is wanted");
  const jinja::MemoryBudget budget(jinja::Interpreter::kMaxMemory);
  try {
    std::unordered_map<std::string, jinja::Value> variables = {
        {"messages", value_of(messages)}, {"add_generation_prompt", options.add_generation_prompt},
        {"bos_token", options.bos_token}, {"eos_token", options.eos_token},
        {"tools", jinja::None{}},  // transformers passes these two as none where a request has none
        {"documents", jinja::None{}},
    };
    if (!extra_json.empty()) {
      const Json extra = parse(extra_json, "the template's variables");
      if (!extra.is_object()) bad_json("the template's variables", "a JSON object is wanted");
      for (const auto& [name, value] : extra.items()) variables[name] = value_of(value);
    }
    return jinja::Interpreter().render(program_->body, std::move(variables));
  } catch (const jinja::Failure& failure) {
    bad_json("the messages", failure.what());
  }
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return render(list.dump(), options);
}

}  // namespace llm_tp

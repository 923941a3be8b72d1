#include "serve/tools/read_tools.h"

#include <algorithm>

namespace llm_tp {
namespace {

constexpr std::size_t kLongestName = 64;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// Adds one tool, and to `rendered` what the template gets of it: all but `strict`, which speaks to the
/// server.
void read_tool(const Json& json, const std::string& place, ToolRequest& request, Json& rendered) {
  BodyReader reader(json, place + ".");
  if (reader.text("type").value_or("function") != "function")
    reader.fail("type", "wanted function: other tools are not known here");
  const Json* const described = reader.find("function");
  if (described == nullptr) reader.fail("function", "is missing");
  BodyReader function(*described, place + ".function.");
  Tool tool;
  tool.name = function.text("name").value_or("");
  if (!is_name(tool.name)) function.fail("name", "wanted 1 to 64 of the characters a-z, A-Z, 0-9, _ and -");
  for (const Tool& other : request.tools)
    if (other.name == tool.name) function.fail("name", "a tool before is called \"" + tool.name + "\" too");
  function.text("description");
  tool.strict = function.boolean("strict").value_or(false);
  if (const Json* const schema = function.find("parameters"); schema != nullptr) {
    if (!schema->is_object()) function.fail("parameters", "wanted an object: a JSON schema");
    tool.parameters = to_text(*schema);
  }
  request.tools.push_back(std::move(tool));
  Json shown = json;
  shown["function"].erase("strict");
  rendered.push_back(std::move(shown));
}

void read_choice(BodyReader& body, ToolRequest& request) {
  const Json* const choice = body.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return;
  if (*choice == "none") {
    request.choice = ToolRequest::Choice::kNone;
  } else if (*choice == "required") {
    request.choice = ToolRequest::Choice::kRequired;
  } else if (choice->is_object()) {
    BodyReader reader(*choice, "tool_choice.");
    if (reader.text("type").value_or("") != "function") reader.fail("type", "wanted function");
    const Json* const named = reader.find("function");
    if (named == nullptr) reader.fail("function", "is missing");
    BodyReader function(*named, "tool_choice.function.");
    const auto name = function.text("name");
    if (!name) function.fail("name", "is missing");
    const auto at = std::find_if(request.tools.begin(), request.tools.end(),
                                 [&](const Tool& tool) { return tool.name == *name; });
    if (at == request.tools.end())
      function.fail("name", "\"" + name->substr(0, kLongestName) + "\" is none of the tools");
    request.choice = ToolRequest::Choice::kRequired;
    request.only = static_cast<std::size_t>(at - request.tools.begin());
  } else {
    body.fail("tool_choice",
              "wanted none, auto, required or {\"type\": \"function\", \"function\": {\"name\"}}");
  }
}

}  // namespace

ToolRequest read_tool_list(BodyReader& body) {
  ToolRequest request;
  const Json* const list = body.find("tools");
  if (list == nullptr) return request;
  if (!list->is_array()) body.fail("tools", "wanted a list of tools");
  if (list->size() > kMostTools)
    body.fail("tools",
              "wanted at most " + std::to_string(kMostTools) + ", found " + std::to_string(list->size()));
  if (list->empty()) return request;
  Json rendered = Json::array();
  for (std::size_t i = 0; i < list->size(); ++i)
    read_tool((*list)[i], "tools[" + std::to_string(i) + "]", request, rendered);
  request.json = to_text(rendered);
  request.choice = ToolRequest::Choice::kAuto;
  return request;
}

ToolRequest read_tools(BodyReader& body) {
  ToolRequest request = read_tool_list(body);
  request.parallel = body.boolean("parallel_tool_calls").value_or(true);
  if (request.tools.empty())
    body.refuse_unless("tool_choice", "none", "goes with tools alone");
  else
    read_choice(body, request);
  return request;
}

}  // namespace llm_tp

#include "serve/tools/chat_messages.h"

#include "serve/api_error.h"

namespace llm_tp {
namespace {

/// A message's content as one text: what templates of text models expect.
Json plain_content(const Json& content, const std::string& place) {
  if (content.is_null() || content.is_string()) return content;
  if (!content.is_array()) throw ApiError(400, place + ": wanted a text or a list of parts", place);
  std::string text;
  for (const Json& part : content) {
    BodyReader reader(part, place + ".");
    const auto type = reader.text("type");
    if (type != "text") reader.fail("type", "this model reads parts of type text alone");
    text += reader.text("text").value_or("");
  }
  return text;
}

/// The arguments of a call as an object.
Json arguments_of(BodyReader& function) {
  const Json* const given = function.find("arguments");
  if (given == nullptr) return Json::object();
  if (given->is_object()) return *given;
  if (!given->is_string()) function.fail("arguments", "wanted a text of JSON, or an object");
  const auto& text = given->get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Json::object();
  try {
    return parse_body(text, "the text");
  } catch (const ApiError& error) {
    function.fail("arguments", error.what());
  }
}

/// `tool_calls` of an assistant's message, in place. An empty list or null is as good as none, and is taken
/// away: templates ask whether the field is there.
void read_calls(Json& message, const std::string& place) {
  const auto at = message.find("tool_calls");
  if (at == message.end()) return;
  if (at->is_null() || (at->is_array() && at->empty())) {
    message.erase("tool_calls");
    return;
  }
  if (!at->is_array()) throw ApiError(400, place + ": wanted a list of calls", place);
  for (std::size_t i = 0; i < at->size(); ++i) {
    const std::string call_place = place + "[" + std::to_string(i) + "]";
    Json& call = (*at)[i];
    BodyReader reader(call, call_place + ".");
    reader.text("id");
    if (reader.text("type").value_or("function") != "function") reader.fail("type", "wanted function");
    if (reader.find("function") == nullptr) reader.fail("function", "is missing");
    BodyReader function(call["function"], call_place + ".function.");
    if (function.text("name").value_or("").empty()) function.fail("name", "is missing");
    call["function"]["arguments"] = arguments_of(function);
  }
}

}  // namespace

std::string read_messages(BodyReader& body) {
  const Json* messages = body.find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    body.fail("messages", "wanted a list of messages that is not empty");
  Json plain = Json::array();
  for (std::size_t i = 0; i < messages->size(); ++i) {
    const std::string place = "messages[" + std::to_string(i) + "]";
    Json message = (*messages)[i];
    BodyReader reader(message, place + ".");
    if (const auto role = reader.text("role"); !role || role->empty())
      reader.fail("role", "wanted system, user, assistant or tool");
    read_calls(message, place + ".tool_calls");
    if (const Json* content = reader.find("content"); content != nullptr)
      message["content"] = plain_content(*content, place + ".content");
    else if (!message.contains("tool_calls"))
      reader.fail("content", "is missing");
    reader.text("tool_call_id");
    plain.push_back(std::move(message));
  }
  return to_text(plain);
}

}  // namespace llm_tp

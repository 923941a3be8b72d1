#include "serve/tools/tool_reply.h"

#include <iterator>

#include "serve/random_id.h"

namespace llm_tp {
namespace {

/// Mistral's templates take ids of nine letters and digits alone.
std::string new_id(ToolStyle style) {
  const bool short_ids = style == ToolStyle::kMistralList || style == ToolStyle::kMistralNamed;
  return short_ids ? random_id({}).substr(0, 9) : random_id("call_");
}

}  // namespace

ReplyDelta ToolReply::push(const std::string& text, bool last) {
  ReplyDelta delta = parser_.push(text);
  if (last) {
    ReplyDelta rest = parser_.finish();
    delta.content += rest.content;
    delta.calls.insert(delta.calls.end(), std::make_move_iterator(rest.calls.begin()),
                       std::make_move_iterator(rest.calls.end()));
  }
  content_ += delta.content;
  for (ToolCallDelta& call : delta.calls) {
    if (call.index == calls_.size()) {
      if (call.id.empty()) call.id = new_id(style_);
      calls_.push_back(call);
    } else {
      calls_[call.index].arguments += call.arguments;
    }
  }
  return delta;
}

Json ToolReply::message() const {
  Json message{{"role", "assistant"},
               {"content", has_calls() && content_.empty() ? Json() : Json(content_)},
               {"refusal", nullptr}};
  if (!has_calls()) return message;
  Json& list = message["tool_calls"] = Json::array();
  for (const ToolCallDelta& call : calls_)
    list.push_back({{"id", call.id},
                    {"type", "function"},
                    {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return message;
}

Json calls_json(const std::vector<ToolCallDelta>& calls) {
  Json list = Json::array();
  for (const ToolCallDelta& call : calls) {
    Json entry{{"index", call.index}};
    Json function = Json::object();
    if (!call.name.empty()) {
      entry["id"] = call.id;
      entry["type"] = "function";
      function["name"] = call.name;
    }
    function["arguments"] = call.arguments;
    entry["function"] = std::move(function);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace llm_tp

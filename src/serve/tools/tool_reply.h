#pragma once
#include <string>
#include <vector>

#include "base/ids.h"
#include "serve/json_text.h"
#include "serve/tools/tool_call_parser.h"

namespace llm_tp {

/// How the calls of a request's tools are read from its replies.
struct ToolReading {
  ToolStyle style = ToolStyle::kNone;  // kNone: they are not
  std::vector<TokenId> marks;          // control tokens whose text the style needs
};

/// One reply of a model that may call tools: deltas for a stream, and the message that they add up to.
class ToolReply {
 public:
  /// `tools` is borrowed.
  ToolReply(ToolStyle style, const std::vector<Tool>& tools) : parser_(style, tools), style_(style) {}
  /// `last`: nothing follows this text. New calls have ids, the model's or ones that are made up.
  ReplyDelta push(const std::string& text, bool last);
  bool has_calls() const noexcept { return !calls_.empty(); }
  /// {"role", "content", "refusal", "tool_calls"}; content is null where there are calls and no text.
  Json message() const;

 private:
  ToolCallParser parser_;
  ToolStyle style_;
  std::string content_;
  std::vector<ToolCallDelta> calls_;  // whole ones
};

/// The `tool_calls` of a streamed delta.
Json calls_json(const std::vector<ToolCallDelta>& calls);

}  // namespace llm_tp

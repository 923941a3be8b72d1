#include "serve/tools/tool_style.h"

namespace llm_tp {

ToolStyle tool_style_of(ToolFormat format, std::string_view chat_template) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  const ToolStyle mistral = has("[ARGS]") ? ToolStyle::kMistralNamed : ToolStyle::kMistralList;
  switch (format) {
    case ToolFormat::kNone:
      return ToolStyle::kNone;
    case ToolFormat::kHermes:
      return ToolStyle::kHermes;
    case ToolFormat::kLlama3:
      return ToolStyle::kLlama3;
    case ToolFormat::kMistral:
      return mistral;
    case ToolFormat::kAuto:
      break;
  }
  if (!has("tools")) return ToolStyle::kNone;
  if (has("[TOOL_CALLS]")) return mistral;
  // Some families put other things than JSON between the same marks.
  if (has("<tool_call>"))
    return has("<function=") || has("<arg_key>") ? ToolStyle::kNone : ToolStyle::kHermes;
  if (has("\"parameters\": ") && has("{\"name\": ")) return ToolStyle::kLlama3;
  return ToolStyle::kNone;
}

std::string_view tool_marker(ToolStyle style) {
  switch (style) {
    case ToolStyle::kNone:
      break;
    case ToolStyle::kHermes:
      return "<tool_call>";
    case ToolStyle::kLlama3:
      return "<|python_tag|>";
    case ToolStyle::kMistralList:
    case ToolStyle::kMistralNamed:
      return "[TOOL_CALLS]";
  }
  return {};
}

std::vector<std::string_view> tool_marks(ToolStyle style) {
  switch (style) {
    case ToolStyle::kNone:
      return {};
    case ToolStyle::kHermes:
      return {tool_marker(style), "</tool_call>"};
    case ToolStyle::kLlama3:
      return {tool_marker(style)};
    case ToolStyle::kMistralList:
    case ToolStyle::kMistralNamed:
      break;
  }
  return {tool_marker(style), "[ARGS]", "[CALL_ID]"};
}

}  // namespace llm_tp

#pragma once
#include <string_view>
#include <vector>

#include "config/engine_config.h"

namespace llm_tp {

/// How a model writes calls of functions.
enum class ToolStyle {
  kNone,         // not at all, or in no way that is known here
  kHermes,       // <tool_call>{"name": …, "arguments": {…}}</tool_call>, once a call
  kLlama3,       // {"name": …, "parameters": {…}} as the whole reply; <|python_tag|> may stand before
  kMistralList,  // [TOOL_CALLS][{"name": …, "arguments": {…}}, …]
  kMistralNamed  // [TOOL_CALLS]name[ARGS]{…}, once a call
};

/// The style that the configuration names, or with kAuto the one that a chat template speaks of.
ToolStyle tool_style_of(ToolFormat format, std::string_view chat_template);
/// What a style's calls begin with, as text. Tokenizers often have it as a control token.
std::string_view tool_marker(ToolStyle style);
/// All texts that a style's calls are told from others by, the marker first.
std::vector<std::string_view> tool_marks(ToolStyle style);

}  // namespace llm_tp

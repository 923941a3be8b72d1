#pragma once
#include "serve/body_reader.h"
#include "serve/tools/tool.h"

namespace llm_tp {

constexpr std::size_t kMostTools = 128;  // of a request, as OpenAI's API has it

/// Reads the fields tools, tool_choice and parallel_tool_calls of a chat. Errors: ApiError 400 that names the
/// field.
ToolRequest read_tools(BodyReader& body);
/// Reads the field tools alone, all of which may be called: for rendering.
ToolRequest read_tool_list(BodyReader& body);

}  // namespace llm_tp

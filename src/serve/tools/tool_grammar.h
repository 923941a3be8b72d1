#pragma once
#include "decoding/grammar/grammar.h"
#include "serve/tools/tool.h"
#include "serve/tools/tool_style.h"

namespace llm_tp {

/// Whether a reply must be held to tool_grammar(): a call is asked for, at most one is allowed, or the
/// arguments of a tool must validate.
bool needs_tool_grammar(const ToolRequest& request);

/// What a reply may be in this style, which is not kNone. With kRequired calls of the tools, of the one that
/// is named, and nothing else; else any text without the style's marker, a call behind it, or both. Arguments
/// validate against the schemas of tools that are strict, and with kRequired of all; others are any object.
/// One call where the request or llama3 allows no more. Errors: ApiError 400 for a schema that no grammar is
/// made of, which names the tool's field.
Grammar tool_grammar(const ToolRequest& request, ToolStyle style);

}  // namespace llm_tp

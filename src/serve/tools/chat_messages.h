#pragma once
#include <string>

#include "serve/body_reader.h"

namespace llm_tp {

/// The field `messages` of a chat as chat templates want it, a JSON list: contents are one text, and the
/// arguments of tool calls, which OpenAI's API has as a text of JSON, are objects. Errors: ApiError 400 that
/// names the field.
std::string read_messages(BodyReader& body);

}  // namespace llm_tp

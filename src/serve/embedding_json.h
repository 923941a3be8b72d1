#pragma once
#include <span>
#include <string>

#include "serve/json_text.h"

namespace llm_tp {

/// A list of numbers, each with the fewest digits that give the float back.
Json embedding_list(std::span<const float> embedding);
/// The floats' bytes, little-endian, in base64: a quarter of the list's length, and what OpenAI's clients ask
/// for.
std::string embedding_base64(std::span<const float> embedding);

}  // namespace llm_tp

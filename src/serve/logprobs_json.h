#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "serve/answer.h"
#include "serve/json_text.h"

namespace llm_tp {

/// The shape of /v1/completions: {tokens, token_logprobs, top_logprobs, text_offset}. `offset` counts
/// characters and moves past the tokens.
Json completion_logprobs(const std::vector<ScoredToken>& tokens, const Tokenizer* tokenizer,
                         std::int64_t& offset);

/// The shape of /v1/chat/completions: {content: [{token, logprob, bytes, top_logprobs}]}.
Json chat_logprobs(const std::vector<ScoredToken>& tokens, const Tokenizer* tokenizer);

}  // namespace llm_tp

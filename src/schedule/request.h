#pragma once
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// How tokens are chosen. Names and semantics of Hugging Face's generate().
struct SamplingSettings {
  float temperature = 0;   // 0: greedy
  std::int32_t top_k = 0;  // 0: off
  float top_p = 1;
  std::uint64_t seed = 0;
};

/// One sequence to run, in tokens. What the tokens mean is not the scheduler's business.
struct Request {
  std::vector<TokenId> prompt;   // at least one
  std::int32_t max_tokens = 16;  // new ones; 0: the prompt is run and scored only
  std::int32_t min_tokens = 0;   // before that many, end ids are never chosen
  std::vector<TokenId> end_ids;
  SamplingSettings sampling;
  std::int32_t stream = 0;    // of random draws: sequences with one seed differ by it
  std::int32_t best = 0;      // so many best tokens are reported with each new one
  bool score_prompt = false;  // log-probability of every prompt token after the first
  bool whole_logits = false;  // all logits of every scored prompt row
};

enum class FinishReason { kStop, kLength, kCancelled };

}  // namespace llm_tp

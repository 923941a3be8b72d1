#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// How the next token is drawn from the processed scores. Names, order and semantics are those of Hugging
/// Face's generate(): temperature, top-k, top-p, min-p, typical, epsilon, eta; each works on what the one
/// before left.
struct SamplingSettings {
  float temperature = 0;         // 0: greedy, nothing below acts
  std::int32_t top_k = 0;        // 0: off; ties with the k-th stay
  float top_p = 1;               // 1: off (Holtzman et al. 2020)
  float min_p = 0;               // 0: off (Nguyen et al. 2024)
  float typical_p = 1;           // 1: off (Meister et al. 2023)
  float epsilon_cutoff = 0;      // 0: off (Hewitt et al. 2022)
  float eta_cutoff = 0;          // 0: off (Hewitt et al. 2022)
  std::int32_t min_keep = 1;     // min_tokens_to_keep of each of them
  std::int32_t renormalise = 0;  // 1: what stays is normalised again; matters where scores are reported
  std::uint64_t seed = 0;

  bool samples() const noexcept { return temperature > 0; }
  /// Some filter besides top-k keeps the likeliest tokens: a prefix of the sorted ones.
  bool cuts_a_prefix() const noexcept {
    return top_p < 1 || min_p > 0 || epsilon_cutoff > 0 || eta_cutoff > 0;
  }
  bool is_typical() const noexcept { return typical_p < 1; }
  bool truncates() const noexcept { return samples() && (top_k > 0 || cuts_a_prefix() || is_typical()); }
};

/// A run of ids whose last one is changed where the others stand before it.
struct BiasedSequence {
  std::vector<TokenId> ids;
  float bias = 0;
};

/// What changes single scores before a token is chosen (processors.h). Neutral by default.
struct ProcessorSettings {
  std::vector<BiasedSequence> sequence_bias;          // logit_bias is one of single ids
  float repetition_penalty = 1;                       // of ids in prompt and output (Keskar et al. 2019)
  float presence_penalty = 0, frequency_penalty = 0;  // OpenAI's, of ids in the output
  std::int32_t no_repeat_ngram_size = 0;              // 0: off
  std::vector<std::vector<TokenId>> bad_words;
  std::int32_t min_length = 0;        // prompt included; before it no end id
  std::int32_t min_new_tokens = 0;    // prompt not included
  std::vector<TokenId> forced_begin;  // the token after a prompt of one
  std::vector<TokenId> forced_end;    // the last token where max_length is reached
  std::int32_t decay_start = 0;       // exponential_decay_length_penalty: of new tokens
  float decay_factor = 1;             // 1: off
  std::vector<TokenId> suppress, begin_suppress;
  std::int32_t max_length = 0;   // prompt included; for forced_end
  std::vector<TokenId> end_ids;  // what min_length and decay act on
};

}  // namespace llm_tp

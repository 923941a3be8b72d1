#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "decoding/score_list.h"
#include "decoding/settings.h"

namespace llm_tp {

/// Hugging Face's logit processors in the order of generate(), as adjustments of single scores that the ranks
/// then apply to their own rows: sequence bias, repetition penalty, (OpenAI's) presence and frequency
/// penalties, no-repeat n-gram, bad words, min length, min new tokens, forced begin and end, exponential
/// decay, suppressed tokens. One object a request; keeps room between calls. Not thread-safe.
class LogitProcessors {
 public:
  /// Ids of `settings` are inside the vocabulary. prompt_tokens: so many of the tokens are the prompt.
  LogitProcessors(ProcessorSettings settings, std::int64_t prompt_tokens);
  /// Appends what is done to the scores of the token after `tokens` (prompt and output so far).
  void append(std::span<const TokenId> tokens, std::vector<Adjustment>& out);
  const ProcessorSettings& settings() const noexcept { return settings_; }

 private:
  ProcessorSettings settings_;
  std::int64_t prompt_tokens_;
  std::vector<std::uint32_t> counts_;  // by id, all 0 between calls
};

// One file each kind: token_penalties, token_bans, length_rules.

/// Adds the bias of each sequence whose first ids are the last of `tokens`; those longer than tokens never
/// act.
void append_sequence_bias(std::span<const BiasedSequence> sequences, std::span<const TokenId> tokens,
                          std::vector<Adjustment>& out);
/// Each distinct id of tokens once. counts: room, all 0 before and after, grown as needed.
void append_repetition_penalty(float penalty, std::span<const TokenId> tokens,
                               std::vector<std::uint32_t>& counts, std::vector<Adjustment>& out);
/// score - presence - count * frequency for each distinct id of the output.
void append_count_penalties(float presence, float frequency, std::span<const TokenId> output,
                            std::vector<std::uint32_t>& counts, std::vector<Adjustment>& out);

/// Forbids what would complete an n-gram that the tokens hold already.
void append_no_repeat_ngram(std::int32_t n, std::span<const TokenId> tokens, std::vector<Adjustment>& out);
/// Forbids the last id of a bad word whose other ids are the last of tokens. A word of one id that is an end
/// id is passed over.
void append_bad_words(std::span<const std::vector<TokenId>> words, std::span<const TokenId> end_ids,
                      std::span<const TokenId> tokens, std::vector<Adjustment>& out);
void append_forbidden(std::span<const TokenId> ids, std::vector<Adjustment>& out);

/// min length, min new tokens, forced begin and end, exponential decay.
void append_length_rules(const ProcessorSettings& settings, std::int64_t length, std::int64_t prompt_tokens,
                         std::vector<Adjustment>& out);

}  // namespace llm_tp

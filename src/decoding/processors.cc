#include "decoding/processors.h"

#include <utility>

namespace llm_tp {

LogitProcessors::LogitProcessors(ProcessorSettings settings, std::int64_t prompt_tokens)
    : settings_(std::move(settings)), prompt_tokens_(prompt_tokens) {}

void LogitProcessors::append(std::span<const TokenId> tokens, std::vector<Adjustment>& out) {
  const ProcessorSettings& s = settings_;
  const auto length = static_cast<std::int64_t>(tokens.size());
  append_sequence_bias(s.sequence_bias, tokens, out);
  if (s.repetition_penalty != 1) append_repetition_penalty(s.repetition_penalty, tokens, counts_, out);
  if (s.presence_penalty != 0 || s.frequency_penalty != 0)
    append_count_penalties(s.presence_penalty, s.frequency_penalty,
                           tokens.subspan(static_cast<std::size_t>(prompt_tokens_)), counts_, out);
  if (s.no_repeat_ngram_size > 0) append_no_repeat_ngram(s.no_repeat_ngram_size, tokens, out);
  append_bad_words(s.bad_words, s.end_ids, tokens, out);
  append_length_rules(s, length, prompt_tokens_, out);
  append_forbidden(s.suppress, out);
  // A forced first token takes the place of the first one that is chosen.
  const bool after_forced = prompt_tokens_ == 1 && !s.forced_begin.empty();
  if (length == prompt_tokens_ + (after_forced ? 1 : 0)) append_forbidden(s.begin_suppress, out);
}

}  // namespace llm_tp

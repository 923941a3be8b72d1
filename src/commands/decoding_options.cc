#include "commands/decoding_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace llm_tp {
namespace {

std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

[[noreturn]] void refuse(const std::string& flag, std::string_view found, const std::string& wanted) {
  throw Error(ExitCode::kUsage,
              flag + ": found \"" + std::string(found.substr(0, 60)) + "\", wanted " + wanted);
}

template <class T>
T number(const std::string& flag, std::string_view text, const std::string& wanted) {
  T value{};
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size()) refuse(flag, text, wanted);
  if constexpr (std::is_floating_point_v<T>)
    if (!std::isfinite(value)) refuse(flag, text, wanted);
  return value;
}

/// Reads lists of ids of one vocabulary.
class IdReader {
 public:
  explicit IdReader(std::int64_t vocabulary) : vocabulary_(vocabulary) {}

  void check(const std::string& flag, TokenId id) const {
    if (id < 0 || id >= vocabulary_)
      throw Error(ExitCode::kUsage, flag + ": found the token id " + std::to_string(id) + ", wanted 0 to " +
                                        std::to_string(vocabulary_ - 1));
  }
  void check(const std::string& flag, const std::vector<TokenId>& ids) const {
    for (TokenId id : ids) check(flag, id);
  }
  std::vector<TokenId> list(const std::string& flag, std::string_view text) const {
    std::vector<TokenId> ids;
    for (std::string_view part : parts_of(text, ','))
      ids.push_back(number<TokenId>(flag, part, "token ids with commas between"));
    check(flag, ids);
    return ids;
  }

 private:
  std::int64_t vocabulary_;
};

void set_biases(const GenerationConfig& g, const IdReader& ids, ProcessorSettings& processors) {
  const auto add = [&](const std::string& flag, std::string_view part) {
    const std::size_t colon = part.rfind(':');
    if (colon == std::string_view::npos) refuse(flag, part, "ids, a colon and a bias");
    processors.sequence_bias.push_back(
        {ids.list(flag, part.substr(0, colon)),
         number<float>(flag, part.substr(colon + 1), "a finite number after the colon")});
  };
  if (g.sequence_bias)
    for (std::string_view part : parts_of(*g.sequence_bias, ';')) add("sequence_bias", part);
  if (g.logit_bias)
    for (std::string_view part : parts_of(*g.logit_bias, ',')) add("logit_bias", part);
}

void set_processors(const GenerationConfig& g, const IdReader& ids, ProcessorSettings& processors) {
  set_biases(g, ids, processors);
  processors.repetition_penalty = static_cast<float>(g.repetition_penalty.value_or(1));
  processors.presence_penalty = static_cast<float>(g.presence_penalty.value_or(0));
  processors.frequency_penalty = static_cast<float>(g.frequency_penalty.value_or(0));
  processors.no_repeat_ngram_size = static_cast<std::int32_t>(g.no_repeat_ngram_size.value_or(0));
  processors.min_length = static_cast<std::int32_t>(g.min_length.value_or(0));
  if (g.bad_words_ids)
    for (std::string_view word : parts_of(*g.bad_words_ids, ';'))
      processors.bad_words.push_back(ids.list("bad_words_ids", word));
  ids.check("suppress_tokens", processors.suppress = g.suppress_tokens);
  ids.check("begin_suppress_tokens", processors.begin_suppress = g.begin_suppress_tokens);
  ids.check("forced_bos_token_id", processors.forced_begin = g.forced_bos_token_id);
  ids.check("forced_eos_token_id", processors.forced_end = g.forced_eos_token_id);
  if (g.exponential_decay_length_penalty) {
    const std::string flag = "exponential_decay_length_penalty";
    const auto parts = parts_of(*g.exponential_decay_length_penalty, ',');
    if (parts.size() != 2) refuse(flag, *g.exponential_decay_length_penalty, "START,FACTOR");
    processors.decay_start = number<std::int32_t>(flag, parts[0], "a whole number of tokens first");
    processors.decay_factor = number<float>(flag, parts[1], "a factor above 0 second");
    if (processors.decay_start < 0 || processors.decay_factor <= 0)
      refuse(flag, *g.exponential_decay_length_penalty, "START of 0 or more and FACTOR above 0");
  }
}

/// Names of settings that are on, to say which do not go together.
struct Conflict {
  bool first;
  const char* first_name;
  bool second;
  const char* second_name;
  const char* why;
};

void refuse_conflicts(const GenerationConfig& g, const Request& request) {
  const bool beams = g.num_beams.value_or(1) > 1;
  const bool contrastive = g.penalty_alpha.value_or(0) > 0;
  const bool speculates = g.speculative != SpeculativeChoice::kNone;
  const bool samples = g.temperature.value_or(0) > 0;
  const bool several = g.n.value_or(1) > 1;
  const Conflict conflicts[] = {
      {beams, "num_beams", samples, "temperature", "beams are searched, not drawn"},
      {beams, "num_beams", several, "n", "num_return_sequences says how many of the beams are returned"},
      {beams, "num_beams", speculates, "speculative", "each beam is one token a step"},
      {beams, "num_beams", !g.stop.empty(), "stop", "a beam ends at an end id alone"},
      {beams, "num_beams", contrastive, "penalty_alpha", "two searches"},
      {beams, "num_beams", request.score_prompt, "echo with logprobs", "the prompt is not scored"},
      {contrastive, "penalty_alpha", request.score_prompt, "echo with logprobs", "the prompt is not scored"},
      {contrastive, "penalty_alpha", samples, "temperature", "candidates are compared, not drawn"},
      {contrastive, "penalty_alpha", several, "n", "there is one best sequence"},
      {contrastive, "penalty_alpha", speculates, "speculative", "every candidate is run anyway"},
  };
  for (const Conflict& c : conflicts)
    if (c.first && c.second)
      throw Error(ExitCode::kUsage, std::string(c.first_name) + " and " + c.second_name +
                                        " do not go together: " + c.why + "; leave one out");
  if (g.num_return_sequences.value_or(1) > g.num_beams.value_or(1))
    throw Error(ExitCode::kUsage, "num_return_sequences is " + std::to_string(*g.num_return_sequences) +
                                      ", wanted at most num_beams, which is " +
                                      std::to_string(g.num_beams.value_or(1)));
  if (contrastive && g.top_k.value_or(0) < 2)
    throw Error(ExitCode::kUsage, "penalty_alpha needs candidates to compare: found top_k " +
                                      std::to_string(g.top_k.value_or(0)) + ", wanted 2 to 256");
  if (contrastive && *g.top_k > 256)
    throw Error(ExitCode::kUsage, "penalty_alpha with top_k " + std::to_string(*g.top_k) +
                                      ": every candidate is a sequence of its own, wanted 2 to 256");
  if ((g.speculative == SpeculativeChoice::kDraft) != g.draft_model.has_value())
    throw Error(ExitCode::kUsage, g.draft_model ? "draft_model is read with speculative draft alone"
                                                : "speculative draft needs --draft-model PATH");
  if ((beams || contrastive || speculates) && request.max_tokens == 0)
    throw Error(ExitCode::kUsage,
                "max_tokens 0 leaves nothing to search; leave num_beams, penalty_alpha and "
                "speculative out");
}

SpeculationKind kind_of(SpeculativeChoice choice) {
  switch (choice) {
    case SpeculativeChoice::kNgram:
      return SpeculationKind::kNgram;
    case SpeculativeChoice::kLookahead:
      return SpeculationKind::kLookahead;
    case SpeculativeChoice::kDraft:
      return SpeculationKind::kDraftModel;
    case SpeculativeChoice::kNone:
      break;
  }
  return SpeculationKind::kNone;
}

EarlyStopping early_stopping_of(EarlyStopChoice choice) {
  if (choice == EarlyStopChoice::kTrue) return EarlyStopping::kTrue;
  return choice == EarlyStopChoice::kNever ? EarlyStopping::kNever : EarlyStopping::kFalse;
}

}  // namespace

void set_decoding_options(const GenerationConfig& g, const ModelFiles& files, Request& request) {
  refuse_conflicts(g, request);
  set_processors(g, IdReader(files.shape.vocabulary), request.processors);
  request.choices = static_cast<std::int32_t>(g.n.value_or(1));
  request.speculation = {kind_of(g.speculative),
                         static_cast<std::int32_t>(g.num_speculative_tokens.value_or(8))};
  if (g.num_beams.value_or(1) > 1) {
    request.beams = Request::Beams{static_cast<std::int32_t>(*g.num_beams),
                                   static_cast<std::int32_t>(g.num_return_sequences.value_or(1)),
                                   g.length_penalty.value_or(1), early_stopping_of(g.early_stopping)};
  } else if (g.penalty_alpha.value_or(0) > 0) {
    request.contrastive =
        Request::ContrastiveSearch{*g.penalty_alpha, static_cast<std::int32_t>(g.top_k.value_or(0))};
  }
}

}  // namespace llm_tp

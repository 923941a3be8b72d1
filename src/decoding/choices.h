#pragma once
#include <memory>
#include <vector>

#include "decoding/drafter.h"
#include "decoding/row_maker.h"
#include "decoding/strategy.h"

namespace llm_tp {

enum class SpeculationKind : std::int32_t { kNone, kNgram, kLookahead, kDraftModel };

struct SpeculationSettings {
  SpeculationKind kind = SpeculationKind::kNone;
  std::int32_t most = 8;  // guesses a step
};

/// What the strategy of plain completions is asked for.
struct ChoiceSettings {
  std::int32_t max_tokens = 16;  // new ones; 0: the prompt is run and scored only
  std::vector<TokenId> end_ids;
  std::int32_t choices = 1;
  std::int32_t first_stream = 0;  // of random draws; choice i draws from first_stream + i
  bool score_prompt = false;      // log-probability of every prompt token after the first
  bool whole_logits = false;      // all logits of every scored prompt row
  std::int32_t prompt_best = 0;   // so many best tokens are reported with each scored prompt token
  SpeculationSettings speculation;
};

/// Greedy decoding and sampling, `choices` times over one prompt whose pages they share, and speculative
/// decoding: guesses of what comes are appended, all their rows are scored in one step, and the first one
/// that differs from what the model chooses ends the run. Since draws are a function of seed, sequence and
/// position, the output is the same to the bit with and without guesses, sampled output too. A draft model
/// draws with the same random numbers as the model (Daliri et al. 2025), which makes equal choices likely.
std::unique_ptr<Strategy> make_choices(ChoiceSettings settings, RowMaker rows, std::vector<TokenId> prompt);

}  // namespace llm_tp

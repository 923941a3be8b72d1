#pragma once
#include <memory>
#include <vector>

#include "decoding/row_maker.h"
#include "decoding/strategy.h"

namespace llm_tp {

enum class EarlyStopping : std::int32_t { kFalse, kTrue, kNever };

struct BeamSettings {
  std::int32_t beams = 1;
  double length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::kFalse;
  std::int32_t returned = 1;  // num_return_sequences
  std::int32_t max_tokens = 16;
  std::vector<TokenId> end_ids;  // as they were given: repeats count as candidates
};

/// Beam search as Hugging Face's generate() does it. Each step takes the best max(2, 1 + end ids) * beams
/// continuations by running sum of processed log-probabilities; those that end are finished with
///   score = sum / (new tokens, end id counted) ^ length_penalty
/// where they are among the first `beams` of them, and the best `beams` others go on. Beams share pages; one
/// that goes on twice is forked. Tokens are told at the end, best sequence first, with its score.
std::unique_ptr<Strategy> make_beam_search(BeamSettings settings, RowMaker rows, std::vector<TokenId> prompt);

}  // namespace llm_tp

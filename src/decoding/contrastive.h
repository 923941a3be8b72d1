#pragma once
#include <memory>
#include <vector>

#include "decoding/row_maker.h"
#include "decoding/strategy.h"

namespace llm_tp {

struct ContrastiveSettings {
  double penalty_alpha = 0.6;
  std::int32_t top_k = 4;
  std::int32_t max_tokens = 16;
  std::vector<TokenId> end_ids;
};

/// Contrastive search (Su et al. 2022): of the top_k likeliest next tokens v with probabilities p(v), the one
/// with the largest
///   (1 - alpha) * p(v) - alpha * max over all tokens before of cos(state of v, state of that token)
/// where a state is the last layer's output after the final norm. The candidates are forks of one sequence
/// and run in one step. States are whole on every rank after the last sum, so rank 0 takes its own: nothing
/// is sent.
std::unique_ptr<Strategy> make_contrastive(ContrastiveSettings settings, RowMaker rows,
                                           std::vector<TokenId> prompt);

}  // namespace llm_tp

#pragma once
#include <optional>
#include <span>
#include <vector>

#include "decoding/candidates.h"

namespace llm_tp {

/// What rank 0 learns about one scored row.
struct RowResult {
  TokenId token = -1;           // chosen; -1 where every token is forbidden, or none was to be chosen
  double logprob = 0;           // of the chosen token: the model's own, before the processors
  std::vector<Candidate> best;  // request.best of them, logit descending
  double log_sum_exp = 0;       // of the logits
  std::optional<double> target_logprob;  // of request.target
  std::vector<Candidate> candidates;     // request.candidates of them, by processed score
  double score_log_sum_exp = 0;          // of the processed scores, where candidates are wanted
  std::vector<float> whole;              // all logits, or all scores, where asked for
  std::vector<float> state;              // the last hidden state, after the final norm, where asked for
};

/// Chooses the token of one row from what every rank found, in rank order. What may be drawn is what
/// truncate() leaves; the draw is the Gumbel maximum over it, so it does not depend on ranks or on which
/// candidates were sent. nullopt: the candidates cannot decide; ask every rank for all its scores.
std::optional<RowResult> choose(const RowRequest& request, std::span<const RowCandidates> ranks,
                                std::int64_t vocabulary);

}  // namespace llm_tp

#pragma once
#include <optional>
#include <span>
#include <vector>

#include "decoding/candidates.h"

namespace llm_tp {

/// What rank 0 learns about one scored row.
struct RowResult {
  TokenId token = -1;                    // chosen
  double logprob = 0;                    // of the chosen token, of the untempered distribution
  std::vector<Candidate> best;           // request.best of them, logit descending
  double log_sum_exp = 0;                // of the untempered logits
  std::optional<double> target_logprob;  // of request.target
  std::vector<float> whole;              // all logits where asked for
};

/// Chooses the token of one row from what every rank found, in rank order. Semantics of Hugging Face's
/// generate(): temperature, then top-k (ties with the k-th stay), then top-p (tokens stay while the mass
/// before them is below p; one at least). The draw is the Gumbel maximum over what stays, so it does not
/// depend on ranks or candidates. nullopt: the candidates do not hold the mass of top_p, or ties that top_k
/// needs; ask every rank for all its rows.
std::optional<RowResult> choose(const RowRequest& request, std::span<const RowCandidates> ranks);

}  // namespace llm_tp

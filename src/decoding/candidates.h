#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/tensor.h"

namespace llm_tp {

/// How one scored row is to be looked at. Sent to every rank with the step plan.
struct RowRequest {
  std::int32_t row = 0;       // of the step's batch
  std::int32_t sequence = 0;  // stream of random draws
  std::int32_t position = 0;  // of the token to be chosen
  std::uint64_t seed = 0;
  float temperature = 0;   // 0: greedy
  std::int32_t top_k = 0;  // 0: all
  float top_p = 1;         // 1: all
  std::int32_t best = 1;   // so many best tokens are wanted besides (log-probabilities)
  TokenId target = -1;     // >= 0: this token's logit is wanted
  std::int32_t whole = 0;  // 1: all logits are wanted
  std::int32_t first_suppressed = 0,
               suppressed = 0;  // run of StepPlan::suppressed: tokens that must not be chosen

  bool samples() const noexcept { return temperature > 0; }
  /// Sampling without truncation: each rank's Gumbel maximum is enough.
  bool samples_freely() const noexcept { return samples() && top_k == 0 && top_p >= 1; }
  /// How many of the best tokens the first round asks of each rank.
  std::int32_t candidates() const noexcept;
};

struct Candidate {
  TokenId id = -1;
  float logit = 0;
};

/// Sum of exp(logit - maximum) over one fixed run of vocabulary rows, in double: partial sums of log-sum-exp
/// that are merged in the order of the runs, so that the result does not depend on how the vocabulary is
/// spread over ranks.
struct ExpSum {
  double maximum = 0, sum = 0;
};

/// What one rank says about one scored row.
struct RowCandidates {
  std::vector<Candidate> best;   // logit descending, id ascending; with every tie of the last one
  bool all = false;              // best holds all of the rank's rows
  std::vector<ExpSum> sums;      // a run of `rows_per_sum` each
  std::vector<ExpSum> tempered;  // of logits / temperature, where the row samples
  Candidate drawn;               // samples_freely: the Gumbel maximum; id -1 where the rank has no rows
  double drawn_key = 0;          // logit / temperature + gumbel
  Candidate target;              // id -1 where the target is not on this rank
  std::vector<float> whole;
};

/// Looks at the logits of the rows [vocabulary.begin, vocabulary.end). rows_per_sum divides vocabulary.begin.
RowCandidates find_candidates(std::span<const float> logits, Range vocabulary, std::int64_t rows_per_sum,
                              const RowRequest& request, std::int64_t most);

std::vector<std::byte> to_bytes(const std::vector<RowCandidates>& rows);
std::vector<RowCandidates> candidates_from_bytes(std::span<const std::byte> bytes);

}  // namespace llm_tp

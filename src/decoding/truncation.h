#pragma once
#include <optional>
#include <vector>

#include "decoding/best_of.h"
#include "decoding/exp_sum.h"
#include "decoding/settings.h"

namespace llm_tp {

/// The tokens of one row that rank 0 knows of.
struct CandidateList {
  std::vector<Candidate> sorted;  // by comes_before, without forbidden ones
  bool complete = true;           // no allowed token is missing; else the first ones of all that are
  Normaliser normaliser;          // of score / temperature over all tokens, missing ones too
};

/// Hugging Face's warpers in their order, top-k to eta: what may still be drawn, in the same order.
/// Probabilities are of what the filter before left. Filters that cut a prefix are exact as soon as the
/// border lies inside the list; nullopt: it does not, all scores are needed.
std::optional<std::vector<Candidate>> truncate(CandidateList list, const SamplingSettings& settings);

/// Log-sum-exp and entropy of score / temperature over a list.
Normaliser normaliser_of(const std::vector<Candidate>& list, double temperature);

}  // namespace llm_tp

#pragma once
#include <span>

namespace llm_tp {

/// Sum of exp((score - maximum) * scale) over one fixed run of vocabulary rows: parts of a log-sum-exp that
/// are merged in the order of the runs, so that the result does not depend on how the vocabulary is spread
/// over ranks.
struct ExpSum {
  double maximum = 0;   // largest score of the run, not scaled; minus infinity where all are forbidden
  double sum = 0;       // of e = exp((score - maximum) * scale)
  double weighted = 0;  // of e * (score - maximum) * scale: for the entropy
};

/// Minus infinity for an empty list.
float largest_of(std::span<const float> scores);

/// The sum of one run, in f32 with eight partial sums in a fixed order: the same bits for every instruction
/// set. Relative error below 1e-6. Scores of minus infinity add nothing.
ExpSum exp_sum(std::span<const float> scores, float scale);

/// What all runs give together.
struct Normaliser {
  double log_sum_exp = 0;  // of score * scale; minus infinity where every token is forbidden
  double entropy = 0;      // of softmax(score * scale), nats
};
/// From the runs of every rank, in rank order.
Normaliser merge_sums(std::span<const std::span<const ExpSum>> ranks, double scale);

}  // namespace llm_tp

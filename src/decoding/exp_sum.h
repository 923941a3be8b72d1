#pragma once
#include <span>

#include "base/scores.h"

namespace llm_tp {

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

#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/scores.h"

namespace llm_tp {

/// The `most` best of scores[i], id first + i, and every tie of the last of them, in order. Two passes
/// where most is small.
std::vector<Candidate> best_of(std::span<const float> scores, TokenId first, std::int64_t most);

}  // namespace llm_tp

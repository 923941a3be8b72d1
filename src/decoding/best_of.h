#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// A token that may be chosen.
struct Candidate {
  TokenId id = -1;
  float score = 0;  // what the processors made of its logit
  float logit = 0;  // what the model gave
};

/// Score descending, then id ascending: the order of every list of candidates. An object, so that sorts
/// inline it.
inline constexpr auto comes_before = [](const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.id < b.id);
};

/// The `most` best of scores[i], id first + i, and every tie of the last of them, in order. Two passes
/// where most is small.
std::vector<Candidate> best_of(std::span<const float> scores, TokenId first, std::int64_t most);

}  // namespace llm_tp

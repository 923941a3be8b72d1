#include "decoding/best_of.h"

#include <algorithm>
#include <limits>

#include "decoding/exp_sum.h"

namespace llm_tp {
namespace {

constexpr std::size_t kBlock = 32;

/// Cuts `best` to `most` and the ties of the last of them; returns that one's score.
float cut(std::vector<Candidate>& best, std::size_t most) {
  const auto last = best.begin() + static_cast<std::ptrdiff_t>(most) - 1;
  std::nth_element(best.begin(), last, best.end(), comes_before);
  const float bound = last->score;
  best.erase(std::partition(best.begin(), best.end(), [&](const Candidate& c) { return c.score >= bound; }),
             best.end());
  return bound;
}

}  // namespace

std::vector<Candidate> best_of(std::span<const float> scores, TokenId first, std::int64_t most) {
  std::vector<Candidate> best;
  if (scores.empty() || most <= 0) return best;
  const auto candidate = [&](std::size_t i) {
    return Candidate{first + static_cast<TokenId>(i), scores[i], scores[i]};
  };
  if (most == 1) {  // greedy, and top-k of 1, of which ties are a part
    const float largest = largest_of(scores);
    for (std::size_t i = 0; i < scores.size(); ++i)
      if (scores[i] == largest) best.push_back(candidate(i));
    return best;
  }
  if (most >= static_cast<std::int64_t>(scores.size())) {
    for (std::size_t i = 0; i < scores.size(); ++i) best.push_back(candidate(i));
    std::sort(best.begin(), best.end(), comes_before);
    return best;
  }
  // A block whose best is below the bound is passed over; the list is cut whenever it has doubled.
  const auto wanted = static_cast<std::size_t>(most);
  float bound = -std::numeric_limits<float>::infinity();
  std::size_t limit = 2 * wanted + kBlock;
  for (std::size_t begin = 0; begin < scores.size(); begin += kBlock) {
    const std::size_t end = std::min(scores.size(), begin + kBlock);
    float largest = scores[begin];
    for (std::size_t i = begin + 1; i < end; ++i) largest = scores[i] > largest ? scores[i] : largest;
    if (largest < bound) continue;
    for (std::size_t i = begin; i < end; ++i)
      if (scores[i] >= bound) best.push_back(candidate(i));
    if (best.size() >= limit) {
      bound = cut(best, wanted);
      limit = best.size() + wanted + kBlock;  // ties may have kept it long
    }
  }
  cut(best, wanted);
  std::sort(best.begin(), best.end(), comes_before);
  return best;
}

}  // namespace llm_tp

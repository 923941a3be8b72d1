#include "decoding/best_of.h"

#include <algorithm>
#include <functional>

#include "decoding/exp_sum.h"

namespace llm_tp {
namespace {

/// The best score of each block of equal length, the rest as one more block.
std::vector<float> bests_of_blocks(std::span<const float> scores, std::size_t length) {
  std::vector<float> bests;
  bests.reserve(scores.size() / length + 1);
  for (std::size_t begin = 0; begin < scores.size(); begin += length)
    bests.push_back(largest_of(scores.subspan(begin, std::min(length, scores.size() - begin))));
  return bests;
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
  // The `most`-th best of the blocks' bests is a bound that so many scores reach, and few more, since the
  // best tokens are spread over the vocabulary. Blocks are so short that there are four times as many.
  const auto wanted = static_cast<std::size_t>(most);
  const std::size_t length = std::max<std::size_t>(1, scores.size() / (4 * wanted));
  const std::vector<float> bests = bests_of_blocks(scores, length);
  std::vector<float> order = bests;
  std::nth_element(order.begin(), order.begin() + most - 1, order.end(), std::greater<>());
  const float bound = order[wanted - 1];
  for (std::size_t block = 0; block < bests.size(); ++block) {
    if (bests[block] < bound) continue;
    const std::size_t end = std::min(scores.size(), (block + 1) * length);
    for (std::size_t i = block * length; i < end; ++i)
      if (scores[i] >= bound) best.push_back(candidate(i));
  }
  std::sort(best.begin(), best.end(), comes_before);
  const float last = best[wanted - 1].score;
  best.erase(
      std::find_if(best.begin() + most, best.end(), [&](const Candidate& c) { return c.score < last; }),
      best.end());
  return best;
}

}  // namespace llm_tp

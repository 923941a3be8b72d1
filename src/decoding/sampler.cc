#include "decoding/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "decoding/counter_rng.h"

namespace llm_tp {
namespace {

double log_sum_exp(std::span<const RowCandidates> ranks, std::vector<ExpSum> RowCandidates::*sums) {
  double maximum = -std::numeric_limits<double>::infinity();
  for (const RowCandidates& r : ranks)
    for (const ExpSum& s : r.*sums) maximum = std::max(maximum, s.maximum);
  double total = 0;
  for (const RowCandidates& r : ranks)
    for (const ExpSum& s : r.*sums) total += s.sum * std::exp(s.maximum - maximum);
  return maximum + std::log(total);
}

/// Number of leading candidates that are sure to be the best of the whole vocabulary: those not below the
/// last one that a rank sent, where that rank kept others back.
std::size_t sure_candidates(const std::vector<Candidate>& merged, std::span<const RowCandidates> ranks) {
  float bound = -std::numeric_limits<float>::infinity();
  for (const RowCandidates& r : ranks)
    if (!r.all && !r.best.empty()) bound = std::max(bound, r.best.back().logit);
  std::size_t sure = 0;
  while (sure < merged.size() && merged[sure].logit >= bound) ++sure;
  return sure;
}

/// What stays after top-k and top-p: a prefix of `merged`; 0 where the candidates do not reach.
std::size_t kept(const RowRequest& request, const std::vector<Candidate>& merged, std::size_t sure,
                 bool complete, double tempered) {
  std::size_t count = merged.size();
  double mass_log = tempered;
  const double scale = 1.0 / request.temperature;
  if (request.top_k > 0 &&
      static_cast<std::size_t>(request.top_k) < (complete ? merged.size() : merged.size() + 1)) {
    if (sure < static_cast<std::size_t>(request.top_k)) return 0;
    const float last = merged[static_cast<std::size_t>(request.top_k) - 1].logit;
    count = static_cast<std::size_t>(request.top_k);
    while (count < merged.size() && merged[count].logit == last) ++count;
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += std::exp((merged[i].logit - merged[0].logit) * scale);
    mass_log = merged[0].logit * scale + std::log(sum);
  } else if (!complete) {
    count = sure;
  }
  if (request.top_p >= 1) return count;
  double before = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0 && before >= request.top_p) return i;
    before += std::exp(merged[i].logit * scale - mass_log);
  }
  const bool cut_short = request.top_k == 0 && !complete && before < request.top_p;
  return cut_short ? 0 : count;
}

}  // namespace

std::optional<RowResult> choose(const RowRequest& request, std::span<const RowCandidates> ranks) {
  RowResult result;
  std::vector<Candidate> merged;
  bool complete = true;
  for (const RowCandidates& r : ranks) {
    merged.insert(merged.end(), r.best.begin(), r.best.end());
    complete = complete && r.all;
    if (r.target.id >= 0) result.target_logprob = r.target.logit;
    result.whole.insert(result.whole.end(), r.whole.begin(), r.whole.end());
  }
  std::stable_sort(merged.begin(), merged.end(),
                   [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  result.log_sum_exp = log_sum_exp(ranks, &RowCandidates::sums);
  if (result.target_logprob) *result.target_logprob -= result.log_sum_exp;

  Candidate chosen = merged.empty() ? Candidate{} : merged[0];
  if (request.samples_freely()) {
    double key = -std::numeric_limits<double>::infinity();
    for (const RowCandidates& r : ranks)
      if (r.drawn.id >= 0 && r.drawn_key > key) chosen = r.drawn, key = r.drawn_key;
  } else if (request.samples()) {
    const double tempered = log_sum_exp(ranks, &RowCandidates::tempered);
    const std::size_t count = kept(request, merged, sure_candidates(merged, ranks), complete, tempered);
    if (count == 0) return std::nullopt;
    double key = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < count; ++i) {
      const double own =
          merged[i].logit / static_cast<double>(request.temperature) +
          gumbel(request.seed, static_cast<std::uint32_t>(request.sequence),
                 static_cast<std::uint32_t>(request.position), static_cast<std::uint32_t>(merged[i].id));
      if (own > key || (own == key && merged[i].id < chosen.id)) chosen = merged[i], key = own;
    }
  }
  result.token = chosen.id;
  result.logprob = chosen.logit - result.log_sum_exp;
  if (static_cast<std::int64_t>(merged.size()) > request.best)
    merged.resize(static_cast<std::size_t>(std::max(request.best, 0)));
  result.best = std::move(merged);
  return result;
}

}  // namespace llm_tp

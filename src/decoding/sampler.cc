#include "decoding/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "decoding/truncation.h"

namespace llm_tp {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Normaliser merge(std::span<const RowCandidates> ranks, std::vector<ExpSum> RowCandidates::*sums,
                 double scale) {
  std::vector<std::span<const ExpSum>> runs;
  for (const RowCandidates& r : ranks) runs.emplace_back(r.*sums);
  return merge_sums(runs, scale);
}

/// All ranks' candidates in order, without forbidden ones, and without those that a token which some rank
/// kept back may come before.
CandidateList merge_candidates(std::span<const RowCandidates> ranks) {
  CandidateList list;
  float bound = -std::numeric_limits<float>::infinity();
  for (const RowCandidates& r : ranks) {
    const auto middle = static_cast<std::ptrdiff_t>(list.sorted.size());
    list.sorted.insert(list.sorted.end(), r.best.begin(), r.best.end());
    std::inplace_merge(list.sorted.begin(), list.sorted.begin() + middle, list.sorted.end(), comes_before);
    if (!r.all && !r.best.empty()) bound = std::max(bound, r.best.back().score);
  }
  list.complete = std::isinf(bound);
  const auto end = std::find_if(list.sorted.begin(), list.sorted.end(),
                                [&](const Candidate& c) { return c.score < bound || std::isinf(c.score); });
  list.sorted.erase(end, list.sorted.end());
  return list;
}

Candidate gumbel_maximum(const std::vector<Candidate>& list, const RowRequest& request) {
  Candidate chosen;
  double best = -kInfinity;
  for (const Candidate& c : list) {
    const double key = gumbel_key(request, c.id, c.score);
    if (key > best || (key == best && c.id < chosen.id)) chosen = c, best = key;
  }
  return chosen;
}

Candidate free_draw(std::span<const RowCandidates> ranks) {
  Candidate chosen;
  double best = -kInfinity;
  for (const RowCandidates& r : ranks)
    if (r.drawn.id >= 0 && r.drawn_key > best) chosen = r.drawn, best = r.drawn_key;
  return chosen;
}

/// The scores of all tokens as a caller would see them after the last processor.
std::vector<float> whole_scores(const RowRequest& request, const std::vector<Candidate>& kept,
                                std::int64_t vocabulary) {
  const double temperature = request.sampling.samples() ? request.sampling.temperature : 1.0;
  const double shift = request.sampling.renormalise != 0 ? normaliser_of(kept, temperature).log_sum_exp : 0.0;
  std::vector<float> whole(static_cast<std::size_t>(vocabulary), -std::numeric_limits<float>::infinity());
  for (const Candidate& c : kept)
    whole[static_cast<std::size_t>(c.id)] = static_cast<float>(c.score / temperature - shift);
  return whole;
}

}  // namespace

std::optional<RowResult> choose(const RowRequest& request, std::span<const RowCandidates> ranks,
                                std::int64_t vocabulary) {
  RowResult result;
  result.log_sum_exp = merge(ranks, &RowCandidates::logit_sums, 1.0).log_sum_exp;
  for (const RowCandidates& r : ranks) {
    if (r.target.id >= 0) result.target_logprob = r.target.logit - result.log_sum_exp;
    result.whole.insert(result.whole.end(), r.whole.begin(), r.whole.end());
    result.best.insert(result.best.end(), r.top.begin(), r.top.end());
  }
  std::sort(result.best.begin(), result.best.end(), comes_before);
  result.best.resize(std::min(result.best.size(), static_cast<std::size_t>(std::max(request.best, 0))));

  Candidate chosen;
  if (request.samples_freely()) {
    chosen = free_draw(ranks);
  } else {
    CandidateList list = merge_candidates(ranks);
    const bool has_sums =
        std::any_of(ranks.begin(), ranks.end(), [](const RowCandidates& r) { return !r.score_sums.empty(); });
    const double scale = request.sampling.samples() ? 1.0 / request.sampling.temperature : 1.0;
    list.normaliser = merge(ranks, has_sums ? &RowCandidates::score_sums : &RowCandidates::logit_sums, scale);
    if (request.candidates > 0) {
      result.score_log_sum_exp = list.normaliser.log_sum_exp;
      list.sorted.resize(std::min(list.sorted.size(), static_cast<std::size_t>(request.candidates)));
      result.candidates = std::move(list.sorted);
      return result;
    }
    std::vector<Candidate> kept;
    if (request.sampling.samples()) {
      auto left = truncate(std::move(list), request.sampling);
      if (!left) return std::nullopt;
      kept = std::move(*left);
      chosen = gumbel_maximum(kept, request);
    } else {
      kept = std::move(list.sorted);
      if (!kept.empty()) chosen = kept[0];
    }
    if (request.whole == WholeKind::kScores) result.whole = whole_scores(request, kept, vocabulary);
  }
  result.token = chosen.id;
  if (chosen.id >= 0) result.logprob = chosen.logit - result.log_sum_exp;
  return result;
}

}  // namespace llm_tp

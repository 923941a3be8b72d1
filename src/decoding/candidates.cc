#include "decoding/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/byte_stream.h"
#include "decoding/counter_rng.h"

namespace llm_tp {
namespace {

/// Nearly always the first hold what top-p and its like keep, and where a row is flat the second: to sort all
/// of a large vocabulary costs as much as a decode step.
constexpr std::int64_t kPrefixCandidates = 256, kFlatPrefixCandidates = 4096;

void apply_mask(std::span<float> scores, Range vocabulary, MaskKind kind,
                std::span<const std::uint32_t> words) {
  const auto begin = static_cast<std::uint32_t>(vocabulary.begin);
  if (kind == MaskKind::kBits) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::uint32_t id = begin + static_cast<std::uint32_t>(i);
      const bool allowed = id / 32 < words.size() && (words[id / 32] >> (id % 32) & 1u) != 0;
      scores[i] = allowed ? scores[i] : kForbiddenScore;
    }
    return;
  }
  // The listed ids are ascending: those of this part are one run.
  auto at = std::lower_bound(words.begin(), words.end(), begin);
  const auto end = std::lower_bound(at, words.end(), static_cast<std::uint32_t>(vocabulary.end));
  if (kind == MaskKind::kForbidden) {
    for (; at != end; ++at) scores[*at - begin] = kForbiddenScore;
    return;
  }
  std::size_t next = 0;
  for (; at != end; ++at) {
    std::fill(scores.begin() + static_cast<std::ptrdiff_t>(next), scores.begin() + (*at - begin),
              kForbiddenScore);
    next = *at - begin + 1;
  }
  std::fill(scores.begin() + static_cast<std::ptrdiff_t>(next), scores.end(), kForbiddenScore);
}

/// The Gumbel maximum over the part's tokens. A key is above `best` only where -log(u) < e^(score/T - best),
/// and 1 - u is below -log(u): most tokens are decided by their random bits alone.
void draw(RowCandidates& found, std::span<const float> scores, TokenId first, const RowRequest& request) {
  const double scale = 1.0 / request.sampling.temperature;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] == kForbiddenScore) continue;
    const auto id = first + static_cast<TokenId>(i);
    const double tempered = scores[i] * scale;
    const GumbelDraw draw(request.draws(), id);
    if (found.drawn.id >= 0 && draw.cannot_reach(found.drawn_key - tempered)) continue;
    const double key = tempered + draw.value();
    if (found.drawn.id < 0 || key > found.drawn_key) found.drawn = {id, scores[i], 0}, found.drawn_key = key;
  }
}

}  // namespace

double gumbel_key(const RowRequest& request, TokenId id, float score) noexcept {
  return score * (1.0 / request.sampling.temperature) + GumbelDraw(request.draws(), id).value();
}

std::int64_t candidates_in_round(const RowRequest& request, int round) noexcept {
  if (request.whole == WholeKind::kScores) return kAllCandidates;
  if (request.candidates > 0) return request.candidates;
  const SamplingSettings& s = request.sampling;
  if (!s.samples()) return 1;
  if (s.top_k > 0) return std::max(s.top_k, s.min_keep);
  if (s.is_typical()) return kAllCandidates;  // what is typical may be anywhere in the order
  if (!s.cuts_a_prefix()) return 1;
  if (round > 1) return kAllCandidates;
  return std::max<std::int64_t>(round == 0 ? kPrefixCandidates : kFlatPrefixCandidates, s.min_keep);
}

bool may_need_another_round(const RowRequest& request, int round) noexcept {
  return candidates_in_round(request, round + 1) != candidates_in_round(request, round);
}

std::vector<ExpSum> CandidateFinder::sums(std::span<const float> scores, float scale) const {
  std::vector<ExpSum> result;
  const auto run = static_cast<std::size_t>(rows_per_sum_);
  for (std::size_t begin = 0; begin < scores.size(); begin += run)
    result.push_back(exp_sum(scores.subspan(begin, std::min(run, scores.size() - begin)), scale));
  return result;
}

void CandidateFinder::adjust(Range part, std::span<const float> logits, const ScoreList& list,
                             const RowRequest& request, double normaliser) {
  scores_.assign(logits.begin(), logits.end());
  if (request.normalised != 0)
    for (float& score : scores_) score = static_cast<float>(score - normaliser);
  for (const Adjustment& a : list.adjustments_of(request)) {
    if (a.op == Adjustment::Op::kForbidAll) {
      std::fill(scores_.begin(), scores_.end(), kForbiddenScore);
    } else if (part.contains(a.id)) {
      float& score = scores_[static_cast<std::size_t>(a.id - part.begin)];
      score = adjusted(score, a);
    }
  }
  if (request.mask != MaskKind::kNone) apply_mask(scores_, part, request.mask, list.mask_of(request));
}

RowCandidates CandidateFinder::read(Range part, std::span<const float> logits, const ScoreList& list,
                                    const RowRequest& request, double normaliser, std::int64_t most) {
  RowCandidates found;
  const auto first = static_cast<TokenId>(part.begin);
  found.logit_sums = sums(logits, 1.0f);
  found.top = best_of(logits, first, request.best);
  if (part.contains(request.target)) {
    const float logit = logits[static_cast<std::size_t>(request.target - part.begin)];
    found.target = {request.target, logit, logit};
  }
  if (request.whole == WholeKind::kLogits) found.whole.assign(logits.begin(), logits.end());

  std::span<const float> scores = logits;
  if (request.adjusts()) {
    adjust(part, logits, list, request, normaliser);
    scores = scores_;
  }
  if (const float scale = request.score_sum_scale(); scale > 0) found.score_sums = sums(scores, scale);
  if (request.samples_freely()) {
    draw(found, scores, first, request);
  } else {
    found.best = best_of(scores, first, most);
    while (!found.best.empty() && found.best.back().score == kForbiddenScore) found.best.pop_back();
    found.all = std::ssize(found.best) < most || found.best.size() == scores.size();
  }
  const auto logit_of = [&](Candidate& c) {
    if (c.id >= 0) c.logit = logits[static_cast<std::size_t>(c.id - first)];
  };
  for (Candidate& c : found.best) logit_of(c);
  logit_of(found.drawn);
  return found;
}

std::vector<std::byte> to_bytes(const std::vector<RowCandidates>& rows) {
  ByteWriter out;
  out.value(static_cast<std::uint64_t>(rows.size()));
  for (const RowCandidates& r : rows) {
    out.list(r.best);
    out.value(r.all);
    out.list(r.top);
    out.list(r.logit_sums);
    out.list(r.score_sums);
    out.value(r.drawn);
    out.value(r.drawn_key);
    out.value(r.target);
    out.list(r.whole);
  }
  return out.take();
}

std::vector<RowCandidates> candidates_from_bytes(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const auto count = in.value<std::uint64_t>();
  std::vector<RowCandidates> rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    RowCandidates r;
    r.best = in.list<Candidate>();
    r.all = in.value<bool>();
    r.top = in.list<Candidate>();
    r.logit_sums = in.list<ExpSum>();
    r.score_sums = in.list<ExpSum>();
    r.drawn = in.value<Candidate>();
    r.drawn_key = in.value<double>();
    r.target = in.value<Candidate>();
    r.whole = in.list<float>();
    rows.push_back(std::move(r));
  }
  return rows;
}

}  // namespace llm_tp

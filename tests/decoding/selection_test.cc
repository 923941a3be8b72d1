// What ranks send decides as if one rank had every score.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "decoding/candidates.h"
#include "decoding/counter_rng.h"
#include "decoding/sampler.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kUnit = 16;

std::vector<float> random_logits(std::int64_t vocabulary, std::uint32_t seed, bool with_ties) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> logits;
  for (std::int64_t i = 0; i < vocabulary; ++i)
    logits.push_back(with_ties ? std::round(normal(random)) : normal(random));
  return logits;
}

/// Rows of each rank: whole units, some ranks may have none.
std::vector<Range> random_ranks(std::int64_t vocabulary, int world, std::uint32_t seed) {
  std::mt19937 random(seed);
  const std::int64_t units = (vocabulary + kUnit - 1) / kUnit;
  std::vector<std::int64_t> cuts{0, units};
  for (int i = 1; i < world; ++i) cuts.push_back(static_cast<std::int64_t>(random() % (units + 1)));
  std::sort(cuts.begin(), cuts.end());
  std::vector<Range> ranks;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
    ranks.push_back({std::min(cuts[i] * kUnit, vocabulary), std::min(cuts[i + 1] * kUnit, vocabulary)});
  return ranks;
}

RowResult over_ranks(const std::vector<float>& logits, const std::vector<Range>& ranks, const ScoreList& list,
                     const RowRequest& request, bool everything) {
  const auto look = [&](std::int64_t most) {
    std::vector<std::vector<ExpSum>> sums;
    CandidateFinder finder(kUnit);
    const auto part = [&](const Range& r) {
      return std::span(logits).subspan(static_cast<std::size_t>(r.begin), static_cast<std::size_t>(r.size()));
    };
    for (std::size_t i = 0; i < ranks.size(); ++i) sums.push_back(finder.sums(part(ranks[i]), 1.0F));
    const std::vector<std::span<const ExpSum>> views(sums.begin(), sums.end());
    const double normaliser = merge_sums(views, 1.0).log_sum_exp;
    std::vector<RowCandidates> found;
    for (std::size_t i = 0; i < ranks.size(); ++i)
      found.push_back(finder.read(ranks[i], part(ranks[i]), list, request, normaliser, most));
    const auto sent = candidates_from_bytes(to_bytes(found));
    return choose(request, sent, static_cast<std::int64_t>(logits.size()));
  };
  if (everything) return look(kAllCandidates).value();
  for (int round = 0;; ++round) {
    auto result = look(candidates_in_round(request, round));
    if (result) return *result;
    RC_ASSERT(may_need_another_round(request, round));
  }
}

SamplingSettings any_sampling() {
  SamplingSettings s;
  s.temperature = *rc::gen::element(0.0F, 0.2F, 1.0F, 3.0F);
  s.top_k = *rc::gen::element(0, 0, 1, 7, 300, 5000);
  s.top_p = *rc::gen::element(1.0F, 1.0F, 0.05F, 0.6F, 0.97F, 0.9999F);
  s.min_p = *rc::gen::element(0.0F, 0.0F, 0.001F, 0.2F, 1.0F);
  s.typical_p = *rc::gen::element(1.0F, 1.0F, 0.4F);
  s.epsilon_cutoff = *rc::gen::element(0.0F, 0.0F, 0.0005F, 0.3F);
  s.eta_cutoff = *rc::gen::element(0.0F, 0.0F, 0.0005F, 0.3F);
  s.min_keep = *rc::gen::element(1, 1, 3);
  s.seed = *rc::gen::arbitrary<std::uint64_t>();
  return s;
}

bool same(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Candidate& x, const Candidate& y) {
    return x.id == y.id && x.score == y.score && x.logit == y.logit;
  });
}

RC_GTEST_PROP(Selection, DoesNotDependOnTheRanks, ()) {
  const auto vocabulary = *rc::gen::element(*rc::gen::inRange<std::int64_t>(1, 2000), std::int64_t{9000});
  const auto logits =
      random_logits(vocabulary, *rc::gen::arbitrary<std::uint32_t>(), *rc::gen::arbitrary<bool>());
  const auto id = rc::gen::map(rc::gen::inRange<std::int64_t>(0, vocabulary),
                               [](std::int64_t v) { return static_cast<TokenId>(v); });
  ScoreList list;
  RowRequest request;
  request.sampling = any_sampling();
  request.position = *rc::gen::inRange(0, 100);
  request.best = *rc::gen::element(0, 1, 5);
  request.target = *id;
  request.normalised = *rc::gen::element(0, 1);
  request.candidates = *rc::gen::element(0, 0, 4);
  const auto adjustments = *rc::gen::inRange(0, 40);
  for (int i = 0; i < adjustments; ++i)
    list.adjustments.push_back(
        {*id, *rc::gen::element(Adjustment::Op::kAdd, Adjustment::Op::kPenalise, Adjustment::Op::kSet),
         *rc::gen::element(1.5F, 0.25F, -std::numeric_limits<float>::infinity())});
  for (Adjustment& a : list.adjustments)
    if (a.op != Adjustment::Op::kSet && std::isinf(a.value)) a.op = Adjustment::Op::kSet;
  request.adjustments = adjustments;
  const auto expected = over_ranks(logits, {{0, vocabulary}}, list, request, true);
  const auto ranks = random_ranks(vocabulary, *rc::gen::inRange(1, 9), *rc::gen::arbitrary<std::uint32_t>());
  const auto got = over_ranks(logits, ranks, list, request, false);
  RC_ASSERT(got.token == expected.token);
  RC_ASSERT(got.log_sum_exp == expected.log_sum_exp);
  RC_ASSERT(got.logprob == expected.logprob);
  RC_ASSERT(got.target_logprob == expected.target_logprob);
  RC_ASSERT(got.score_log_sum_exp == expected.score_log_sum_exp);
  RC_ASSERT(same(got.best, expected.best));
  RC_ASSERT(same(got.candidates, expected.candidates));
}

TEST(Selection, TwoRoundsDecideWhereTopPKeepsThousandsOfTokens) {
  const std::vector<float> logits = random_logits(20000, 1, false);
  RowRequest request;
  request.sampling.temperature = 4;  // the likeliest 256 hold a tenth of the mass
  request.sampling.top_p = 0.5;
  CandidateFinder finder(kUnit);
  const auto decided_in = [&](int round) {
    const std::vector<RowCandidates> found{
        finder.read({0, 20000}, logits, {}, request, 0, candidates_in_round(request, round))};
    EXPECT_EQ(found[0].all, round == 2);
    return choose(request, found, 20000).has_value();
  };
  EXPECT_FALSE(decided_in(0));
  EXPECT_TRUE(decided_in(1));
  request.sampling.top_p = 0.99F;
  EXPECT_FALSE(decided_in(1));
  EXPECT_TRUE(decided_in(2));
  EXPECT_FALSE(may_need_another_round(request, 2));
}

TEST(Selection, TopKOfOneKeepsItsTies) {
  const std::vector<float> logits{1, 5, 0, 5, 5, 2};
  ScoreList list;
  RowRequest request;
  request.sampling.temperature = 1;
  request.sampling.top_k = 1;
  std::vector<int> seen(logits.size(), 0);
  for (request.position = 0; request.position < 200; ++request.position)
    ++seen[static_cast<std::size_t>(over_ranks(logits, {{0, 6}}, list, request, false).token)];
  for (std::size_t id = 0; id < logits.size(); ++id) EXPECT_EQ(seen[id] > 0, logits[id] == 5) << id;
}

RC_GTEST_PROP(Selection, MasksOfEveryKindForbidTheSame, ()) {
  const auto vocabulary = *rc::gen::inRange<std::int64_t>(1, 500);
  const auto logits = random_logits(vocabulary, *rc::gen::arbitrary<std::uint32_t>(), false);
  std::vector<std::uint32_t> allowed, forbidden, bits(static_cast<std::size_t>((vocabulary + 31) / 32), 0);
  const auto odds = *rc::gen::inRange(1, 10);
  for (std::uint32_t id = 0; id < vocabulary; ++id) {
    const bool is_allowed = *rc::gen::inRange(0, 10) < odds;
    (is_allowed ? allowed : forbidden).push_back(id);
    if (is_allowed) bits[id / 32] |= 1U << (id % 32);
  }
  const auto ranks = random_ranks(vocabulary, *rc::gen::inRange(1, 5), *rc::gen::arbitrary<std::uint32_t>());
  std::vector<RowResult> results;
  for (const auto& [kind, words] :
       {std::pair{MaskKind::kAllowed, allowed}, {MaskKind::kForbidden, forbidden}, {MaskKind::kBits, bits}}) {
    ScoreList list;
    list.mask_words = words;
    RowRequest request;
    request.mask = kind;
    request.mask_words = static_cast<std::int32_t>(words.size());
    request.whole = WholeKind::kScores;
    results.push_back(over_ranks(logits, ranks, list, request, false));
    RC_ASSERT(results.back().whole == results.front().whole);
  }
  for (std::uint32_t id = 0; id < vocabulary; ++id)
    RC_ASSERT(std::isinf(results[0].whole[id]) == ((bits[id / 32] >> (id % 32) & 1U) == 0));
}

RC_GTEST_PROP(ExpSum, IsTheSumInDouble, ()) {
  const auto count = *rc::gen::inRange(1, 200);
  const auto logits = random_logits(count, *rc::gen::arbitrary<std::uint32_t>(), false);
  const float scale = *rc::gen::element(0.3F, 1.0F, 10.0F);
  double sum = 0, weighted = 0;
  const float maximum = *std::max_element(logits.begin(), logits.end());
  for (const float l : logits) {
    const double x = static_cast<double>(l - maximum) * scale;
    sum += std::exp(x), weighted += std::exp(x) * x;
  }
  const ExpSum got = exp_sum(logits, scale);
  RC_ASSERT(got.maximum == maximum);
  RC_ASSERT(std::abs(got.sum - sum) <= 1e-6 * sum);
  RC_ASSERT(std::abs(got.weighted - weighted) <= 2e-6 * std::max(1.0, std::abs(weighted)));
}

RC_GTEST_PROP(GumbelDraw, TheShortTestIsNeverWrong, (std::uint64_t seed)) {
  for (TokenId id = 0; id < 50; ++id) {
    const GumbelDraw draw({seed, 1, 2}, id);
    for (const double bound : {-1.0, 0.01, 0.5, 1.0, 2.0, 5.0, 12.0})
      RC_ASSERT(!draw.cannot_reach(bound) || draw.value() < bound);
  }
}

RC_GTEST_PROP(BestOf, AgreesWithASort, ()) {
  const auto count = *rc::gen::inRange(1, 800);
  const auto logits = random_logits(count, *rc::gen::arbitrary<std::uint32_t>(), *rc::gen::arbitrary<bool>());
  const auto most = *rc::gen::inRange<std::int64_t>(2, 900);
  const auto all = best_of(logits, 3, count);
  auto got = best_of(logits, 3, most);
  const auto least = std::min<std::size_t>(static_cast<std::size_t>(most), all.size());
  RC_ASSERT(got.size() >= least);
  for (std::size_t i = 0; i < got.size(); ++i) RC_ASSERT(got[i].id == all[i].id);
  for (std::size_t i = least; i < got.size(); ++i) RC_ASSERT(got[i].score == got[least - 1].score);
  const bool complete = got.size() == all.size();  // RC_ASSERT would evaluate both sides of an `or`
  RC_ASSERT((complete || all[got.size()].score < got.back().score));
}

}  // namespace
}  // namespace llm_tp

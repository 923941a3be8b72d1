// Rows are read by all threads of a rank, and few rows in parts: the outcome has the same bits.
#include "engine/row_scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "comm/single_rank.h"
#include "kernels/cpu/cpu_backend.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kVocabulary = 5003;

std::vector<float> random_row(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> row(kVocabulary);
  for (float& logit : row) logit = normal(random);
  return row;
}

/// Requests of every kind, all for row 0 or spread over rows.
ScoreList requests_of_all_kinds(std::int32_t rows) {
  ScoreList list;
  list.adjustments = {{17, Adjustment::Op::kAdd, 9.0F}, {4999, Adjustment::Op::kPenalise, 0.5F}};
  list.mask_words = {3, 700, 2501, 5002};
  const auto add = [&](auto change) {
    RowRequest request;
    request.row = static_cast<std::int32_t>(list.rows.size()) % rows;
    request.position = 40 + request.row;
    request.best = 3;
    request.target = 5001;
    change(request);
    list.rows.push_back(request);
  };
  add([](RowRequest&) {});
  add([](RowRequest& r) { r.sampling.temperature = 1; });
  add([](RowRequest& r) { r.sampling.temperature = 0.7F, r.sampling.top_p = 0.9F; });
  add([](RowRequest& r) { r.sampling.temperature = 4, r.sampling.top_p = 0.99F; });  // needs another round
  add([](RowRequest& r) { r.sampling.temperature = 1, r.sampling.top_k = 40, r.adjustments = 2; });
  add([](RowRequest& r) { r.normalised = 1, r.candidates = 6, r.adjustments = 2; });
  add([](RowRequest& r) { r.mask = MaskKind::kAllowed, r.mask_words = 4; });
  add([](RowRequest& r) { r.whole = WholeKind::kLogits; });
  std::stable_sort(list.rows.begin(), list.rows.end(),
                   [](const RowRequest& a, const RowRequest& b) { return a.row < b.row; });
  return list;
}

std::vector<RowResult> score_with(int threads, const ScoreList& list) {
  SingleRank ranks;
  SingleRankChannel control;
  CpuBackend ops({.threads = threads, .oversubscribed = true});
  RankBook book(ranks, 0);
  RowScorer scorer(ops, ranks, control, book, {0, kVocabulary}, kVocabulary);
  std::vector<float> logits;
  const std::vector<std::int32_t> rows{0, 1, 2, 3, 4, 5, 6, 7};
  for (const std::int32_t row : rows) {
    const std::vector<float> more = random_row(static_cast<std::uint32_t>(row));
    logits.insert(logits.end(), more.begin(), more.end());
  }
  return scorer.score(list, 0, list.rows.size(),
                      {TensorView::matrix(logits.data(), std::ssize(rows), kVocabulary), rows});
}

void expect_same(const RowResult& got, const RowResult& want) {
  const auto same = [](const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Candidate& x, const Candidate& y) {
      return x.id == y.id && x.score == y.score && x.logit == y.logit;
    });
  };
  EXPECT_EQ(got.token, want.token);
  EXPECT_EQ(got.logprob, want.logprob);
  EXPECT_EQ(got.log_sum_exp, want.log_sum_exp);
  EXPECT_EQ(got.target_logprob, want.target_logprob);
  EXPECT_EQ(got.score_log_sum_exp, want.score_log_sum_exp);
  EXPECT_TRUE(same(got.best, want.best));
  EXPECT_TRUE(same(got.candidates, want.candidates));
  EXPECT_EQ(got.whole, want.whole);
}

TEST(RowScorer, HasTheSameBitsForAnyNumberOfThreads) {
  for (const std::int32_t rows : {1, 2, 8}) {
    const ScoreList all = requests_of_all_kinds(rows);
    for (std::size_t alone = 0; alone <= all.rows.size(); ++alone) {
      ScoreList list = all;  // one request by itself is read in parts
      if (alone < all.rows.size()) list.rows = {all.rows[alone]};
      const auto want = score_with(1, list);
      for (const int threads : {2, 5, 16}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, " << rows << " rows, request " << alone);
        const auto got = score_with(threads, list);
        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < got.size(); ++i) expect_same(got[i], want[i]);
      }
    }
  }
}

}  // namespace
}  // namespace llm_tp

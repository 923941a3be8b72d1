#include "model/shard_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

struct Heads {
  std::int64_t query, kv, head_dim, mlp_columns, vocabulary;
};
constexpr Heads kModels[] = {
    {9, 3, 64, 1536, 49152},     {14, 2, 64, 4864, 151936},   {5, 5, 16, 76, 256}, {7, 1, 16, 172, 401},
    {32, 8, 128, 14336, 128256}, {64, 8, 128, 28672, 32000},  {8, 8, 8, 172, 512}, {4, 1, 24, 96, 509},
    {1, 1, 2, 16, 16},           {32, 32, 128, 11008, 32000}, {3, 1, 32, 1, 1},    {12, 4, 80, 6912, 1000003},
};

ModelShape shape_of(const Heads& heads) {
  ModelShape shape;
  shape.query_heads = heads.query, shape.kv_heads = heads.kv, shape.head_dim = heads.head_dim;
  shape.hidden = heads.query * heads.head_dim;
  shape.mlp_columns = heads.mlp_columns, shape.vocabulary = heads.vocabulary;
  shape.layers = 2;
  return shape;
}

/// Ranges in rank order that cover [0, total) once.
void expect_whole(const ShardPlan& plan, Range RankShare::*part, std::int64_t total, const char* what) {
  std::int64_t end = 0;
  for (const RankShare& share : plan.ranks) {
    EXPECT_EQ((share.*part).begin, end) << what;
    EXPECT_GE((share.*part).end, (share.*part).begin) << what;
    end = (share.*part).end;
  }
  EXPECT_EQ(end, total) << what;
}

void expect_sound(const ModelShape& shape, const ShardUnits& units, const ShardPlan& plan, int world) {
  ASSERT_EQ(plan.ranks.size(), static_cast<std::size_t>(world));
  expect_whole(plan, &RankShare::query_heads, shape.query_heads, "query heads");
  expect_whole(plan, &RankShare::mlp_columns, shape.mlp_columns, "MLP columns");
  expect_whole(plan, &RankShare::vocab_rows, shape.vocabulary, "vocabulary rows");
  expect_whole(plan, &RankShare::output_leaves, plan.output_cut.leaves, "leaves of the output");
  expect_whole(plan, &RankShare::down_leaves, plan.down_cut.leaves, "leaves of down");
  EXPECT_EQ(plan.output_cut.columns, shape.query_heads * shape.head_dim);
  EXPECT_EQ(plan.down_cut.columns, shape.mlp_columns);
  for (const RankShare& share : plan.ranks) {
    const Range q = share.query_heads;
    // The KV heads that its query heads read, no more and no fewer.
    if (q.empty()) {
      EXPECT_TRUE(share.kv_heads.empty());
    } else {
      EXPECT_EQ(share.kv_heads, (Range{q.begin / shape.group(), (q.end - 1) / shape.group() + 1}));
    }
    EXPECT_EQ(plan.output_cut.columns_of(share.output_leaves),
              (Range{q.begin * shape.head_dim, q.end * shape.head_dim}));
    EXPECT_EQ(plan.down_cut.columns_of(share.down_leaves), share.mlp_columns);
    const auto on_block = [](std::int64_t column, std::int64_t block, std::int64_t columns) {
      return column % block == 0 || column == columns;
    };
    EXPECT_TRUE(on_block(q.begin * shape.head_dim, units.output_block, plan.output_cut.columns));
    EXPECT_TRUE(on_block(share.mlp_columns.begin, units.down_block, shape.mlp_columns));
    EXPECT_TRUE(on_block(share.vocab_rows.begin, vocabulary_unit(shape.vocabulary), shape.vocabulary));
  }
}

TEST(ShardPlan, OneToSixteenRanksOwnEveryHeadColumnRowAndLeafOnce) {
  const std::vector<double> lopsided{1, 1, 0.5, 3, 0.001, 1000, 2, 1, 1, 1, 0.7, 5, 1, 0.1, 1, 1};
  for (const Heads& heads : kModels)
    for (int world = 1; world <= 16; ++world)
      for (const ShardUnits units :
           {ShardUnits{1, 1}, ShardUnits{32, 32}, ShardUnits{256, 256}, ShardUnits{32, 1}})
        for (const bool equal : {true, false}) {
          SCOPED_TRACE((std::ostringstream()
                        << heads.query << "/" << heads.kv << " heads of " << heads.head_dim << ", " << world
                        << " ranks, blocks " << units.output_block << " and " << units.down_block
                        << (equal ? "" : ", shares"))
                           .str());
          const auto shares =
              equal ? std::span<const double>() : std::span(lopsided).first(static_cast<std::size_t>(world));
          const ModelShape shape = shape_of(heads);
          expect_sound(shape, units, ShardPlan::make(shape, world, units, shares), world);
        }
}

TEST(ShardPlan, LeavesAreFixedByTheModelAndNotByTheRanks) {
  for (const Heads& heads : kModels) {
    const ModelShape shape = shape_of(heads);
    const ShardPlan alone = ShardPlan::make(shape, 1, {32, 32});
    EXPECT_LE(alone.down_cut.leaves, 64);
    for (int world = 2; world <= 16; ++world) {
      const ShardPlan plan = ShardPlan::make(shape, world, {32, 32});
      EXPECT_EQ(plan.output_cut, alone.output_cut);
      EXPECT_EQ(plan.down_cut, alone.down_cut);
    }
  }
}

std::vector<std::int64_t> query_heads(const ShardPlan& plan) {
  std::vector<std::int64_t> counts;
  for (const RankShare& share : plan.ranks) counts.push_back(share.query_heads.size());
  return counts;
}
std::vector<std::int64_t> query_heads(std::int64_t query, std::int64_t kv, int world,
                                      std::vector<double> shares = {}) {
  return query_heads(ShardPlan::make(shape_of({query, kv, 64, 4096, 32000}), world, {}, shares));
}

TEST(ShardPlan, DealsWholeKvGroupsWhereThatCostsLittle) {
  EXPECT_EQ(query_heads(32, 8, 3), (std::vector<std::int64_t>{8, 12, 12}));
  EXPECT_EQ(query_heads(32, 8, 8), std::vector<std::int64_t>(8, 4));
  EXPECT_EQ(query_heads(64, 8, 4), std::vector<std::int64_t>(4, 16));
}

TEST(ShardPlan, DealsQueryHeadsWhereWholeGroupsWouldFillARank) {
  const ShardPlan plan = ShardPlan::make(shape_of({9, 3, 64, 1536, 49152}), 2, {});
  EXPECT_EQ(query_heads(plan), (std::vector<std::int64_t>{4, 5}));
  EXPECT_EQ(plan.ranks[0].kv_heads, (Range{0, 2}));
  EXPECT_EQ(plan.ranks[1].kv_heads, (Range{1, 3}));  // KV head 1 lies on both
  EXPECT_EQ(query_heads(14, 2, 4), (std::vector<std::int64_t>{3, 3, 4, 4}));
  EXPECT_EQ(query_heads(7, 1, 3), (std::vector<std::int64_t>{2, 2, 3}));
}

TEST(ShardPlan, MoreRanksThanHeadsLeaveRanksIdle) {
  const ShardPlan plan = ShardPlan::make(shape_of({4, 1, 24, 16, 16}), 6, {});
  EXPECT_EQ(query_heads(plan), (std::vector<std::int64_t>{0, 0, 1, 1, 1, 1}));
  EXPECT_TRUE(plan.ranks[0].kv_heads.empty());
  EXPECT_TRUE(plan.ranks[0].output_leaves.empty());
  EXPECT_TRUE(plan.ranks[0].mlp_columns.empty());
  EXPECT_TRUE(plan.ranks[0].vocab_rows.empty());
}

TEST(ShardPlan, HeadsThatShareAQuantisationBlockStayTogether) {
  // 8 heads of 16: a block of 32 columns is two heads.
  EXPECT_EQ(query_heads(ShardPlan::make(shape_of({8, 8, 16, 64, 64}), 3, {32, 32})),
            (std::vector<std::int64_t>{2, 2, 4}));
}

TEST(ShardPlan, ExpertsAreSlicedOnAllRanksOrLieWholeOnOne) {
  ModelShape shape = shape_of({4, 2, 16, 96, 509});
  shape.experts.count = 6, shape.experts.chosen = 2, shape.experts.columns = 96;
  shape.experts.shared_columns = 64;
  for (int world = 1; world <= 9; ++world) {
    const ShardPlan sliced = ShardPlan::make(shape, world, {}),
                    whole = ShardPlan::make(shape, world, {}, {}, true);
    EXPECT_FALSE(sliced.whole_experts);
    EXPECT_TRUE(whole.whole_experts);
    EXPECT_EQ(whole.expert_cut, sliced.expert_cut);
    expect_whole(sliced, &RankShare::expert_columns, 96, "columns of each expert");
    expect_whole(whole, &RankShare::experts, 6, "experts");  // from seven ranks on some have none
    for (const ShardPlan& plan : {sliced, whole})
      expect_whole(plan, &RankShare::shared_columns, 64, "columns of the shared expert");
    for (const RankShare& share : sliced.ranks) EXPECT_EQ(share.experts, (Range{0, 6}));
    for (const RankShare& share : whole.ranks) EXPECT_EQ(share.expert_columns, (Range{0, 96}));
  }
  EXPECT_FALSE(ShardPlan::make(shape_of({4, 2, 16, 96, 509}), 2, {}, {}, true).whole_experts);
}

TEST(ShardPlan, FollowsTheShares) {
  EXPECT_EQ(query_heads(40, 40, 3, {1, 1, 0.5}), (std::vector<std::int64_t>{16, 16, 8}));
  const ShardPlan plan =
      ShardPlan::make(shape_of({32, 32, 64, 4096, 32768}), 2, {}, std::vector<double>{3, 1});
  EXPECT_EQ(plan.ranks[0].mlp_columns, (Range{0, 3072}));
  EXPECT_EQ(plan.ranks[0].vocab_rows, (Range{0, 24576}));
  // Only their ratio counts.
  EXPECT_EQ(query_heads(40, 40, 3, {200, 200, 100}), query_heads(40, 40, 3, {1, 1, 0.5}));
}

TEST(ShardPlan, RefusesSharesOfAnotherCountOrThatAreNotPositiveNumbers) {
  const ModelShape shape = shape_of(kModels[0]);
  const auto refused = [&](std::vector<double> shares, const std::string& word) {
    expect_error(ExitCode::kConfig, {"shares", word}, [&] { ShardPlan::make(shape, 3, {}, shares); });
  };
  refused({1, 1}, "2 numbers for 3 ranks");
  refused({1, 1, 1, 1}, "4 numbers for 3 ranks");
  refused({1, 0, 1}, "positive");
  refused({1, -1, 1}, "positive");
  refused({1, std::nan(""), 1}, "positive");
  refused({1, std::numeric_limits<double>::infinity(), 1}, "positive");
}

TEST(VocabularyUnit, GivesAtMost256RunsOfWholeSixteens) {
  for (std::int64_t vocabulary : {1, 15, 16, 401, 4096, 4097, 32000, 49152, 128256, 151936, 262144}) {
    const std::int64_t unit = vocabulary_unit(vocabulary);
    EXPECT_EQ(unit % 16, 0) << vocabulary;
    EXPECT_LE((vocabulary + unit - 1) / unit, 256) << vocabulary;
  }
  EXPECT_EQ(vocabulary_unit(4096), 16);
}

TEST(CutByShares, NoRankIsOffItsExactShareByAWholeUnit) {
  for (const std::int64_t units : {0, 1, 5, 43, 64, 1000})
    for (const std::vector<double>& shares :
         {std::vector<double>{1}, {1, 1, 1}, {1, 2, 3, 4}, {0.3, 0.3, 0.4}, {5, 0.01, 5, 0.01}}) {
      const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
      const std::vector<Range> cut = cut_by_shares(units, shares);
      for (std::size_t r = 0; r < cut.size(); ++r)
        EXPECT_LT(
            std::abs(static_cast<double>(cut[r].size()) - static_cast<double>(units) * shares[r] / total), 1)
            << units << " units, rank " << r;
    }
}

}  // namespace
}  // namespace llm_tp

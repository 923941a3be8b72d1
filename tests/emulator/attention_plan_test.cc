// How attention of a step is cut into blocks.
#include <gtest/gtest.h>

#include <map>

#include "kernels/cuda/attention.h"

namespace llm_tp::testing {
namespace {

/// Slices of one row at the ends of contexts of so many chunks.
struct Sequences {
  std::vector<BatchSlice> slices;
  std::vector<TokenId> tokens;

  explicit Sequences(const std::vector<std::int32_t>& chunks, std::int32_t rows = 1) {
    for (const std::int32_t count : chunks) {
      slices.push_back({static_cast<std::int32_t>(tokens.size()), rows, count * kChunkKeys - rows, {}});
      tokens.resize(tokens.size() + static_cast<std::size_t>(rows));
    }
  }
  Batch batch() const { return {tokens, {}, slices}; }
};

/// Partials of each slice, by its first row; 0: walked whole by one block.
std::map<std::int32_t, std::int32_t> partials_of(const AttentionPlan& plan) {
  std::map<std::int32_t, std::int32_t> partials;
  for (const AttentionItem& item : plan.items)
    if (item.rows > 0) partials[item.first_row] += item.partial >= 0 ? 1 : 0;
  return partials;
}

using Partials = std::map<std::int32_t, std::int32_t>;

TEST(AttentionPlan, SequencesOfSeveralChunksAreCut) {
  const Sequences sequences({1, 4, 2});
  const AttentionPlan plan = plan_attention(sequences.batch(), {4, 0, 64, 1000});
  EXPECT_EQ(partials_of(plan), (Partials{{0, 0}, {1, 4}, {2, 2}}));
  EXPECT_EQ(plan.partial_rows, 4);
  EXPECT_EQ(plan.merges.size(), 3u);  // one a slice
  EXPECT_EQ(plan.merges[0].partials, 4);
  EXPECT_EQ(plan.merges[2].rows, 0);
}

TEST(AttentionPlan, WherePartialsHaveNoRoomTheLongestAreCut) {
  const Sequences sequences({2, 9, 3, 5});
  const auto with_room_for = [&](std::int64_t partials) {
    const AttentionPlan plan = plan_attention(sequences.batch(), {4, 0, 64, 4 * partials});
    EXPECT_LE(plan.partials, partials);
    return partials_of(plan);
  };
  EXPECT_EQ(with_room_for(19), (Partials{{0, 2}, {1, 9}, {2, 3}, {3, 5}}));
  EXPECT_EQ(with_room_for(17), (Partials{{0, 0}, {1, 9}, {2, 3}, {3, 5}}));
  EXPECT_EQ(with_room_for(14), (Partials{{0, 0}, {1, 9}, {2, 0}, {3, 5}}));
  EXPECT_EQ(with_room_for(8), (Partials{{0, 0}, {1, 0}, {2, 0}, {3, 0}}));
}

TEST(AttentionPlan, FewNumbersOfBlocksOccurAndNoneIsAboveTheMost) {
  std::map<std::size_t, int> sizes;
  for (std::int32_t chunks = 1; chunks <= 64; ++chunks) {
    const Sequences sequences({chunks, 1});
    const AttentionPlanOptions options{4, 0, 64, 1000};
    const AttentionPlan plan = plan_attention(sequences.batch(), options);
    EXPECT_GE(std::ssize(plan.items), chunks == 1 ? 2 : chunks + 1);
    EXPECT_LE(std::ssize(plan.items), most_items(2, 2, options));
    ++sizes[plan.items.size()];
  }
  EXPECT_LE(sizes.size(), 20u);
}

}  // namespace
}  // namespace llm_tp::testing

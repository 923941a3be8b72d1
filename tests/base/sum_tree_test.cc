#include "base/sum_tree.h"

#include <gtest/gtest.h>

#include <random>

namespace llm_tp {
namespace {

float node(const std::vector<float>& leaves, int level, std::size_t i) {
  if (level == 0) return leaves[i];
  const float left = node(leaves, level - 1, 2 * i);
  return (2 * i + 1) << (level - 1) < leaves.size() ? left + node(leaves, level - 1, 2 * i + 1) : left;
}

float whole_tree(const std::vector<float>& leaves) {
  int level = 0;
  while (std::size_t{1} << level < leaves.size()) ++level;
  return node(leaves, level, 0);
}

TEST(SumTree, AnyCutOverRanksGivesTheBitsOfTheRecursiveDefinition) {
  std::mt19937 random(1);
  for (std::size_t leaves = 1; leaves <= 64; ++leaves) {
    std::vector<float> values(leaves);
    for (float& v : values) v = std::uniform_real_distribution<float>(-1e4f, 1e4f)(random);
    const float wanted = whole_tree(values);
    for (int world = 1; world <= 16; ++world) {
      std::vector<TreeRoot> roots;
      std::int64_t at = 0;
      for (int rank = 0; rank < world; ++rank) {
        const auto count = static_cast<std::int64_t>(leaves);
        const std::int64_t end =
            rank + 1 == world ? count
                              : std::min(count, at + static_cast<std::int64_t>(random() % (leaves + 1)));
        for (const TreeRoot& root : roots_of({at, end})) roots.push_back(root);
        at = end;
      }
      std::vector<float> slots;
      for (const TreeRoot& root : roots)
        slots.push_back(node(values, root.level, static_cast<std::size_t>(root.begin >> root.level)));
      for (const TreeAddition& a : additions_above(roots))
        slots[static_cast<std::size_t>(a.into)] += slots[static_cast<std::size_t>(a.from)];
      EXPECT_EQ(slots[0], wanted) << leaves << " leaves over " << world;
    }
  }
}

TEST(SumTree, CutsAreWholeUnitsInOrder) {
  for (std::int64_t columns : {1, 76, 172, 384, 576, 1536, 5632, 11008, 14336, 28672})
    for (std::int64_t unit : {1, 16, 32, 256})
      for (const LeafCut& cut : {LeafCut::whole(columns, unit), LeafCut::split(columns, unit)}) {
        EXPECT_EQ(cut.begin(0), 0);
        EXPECT_EQ(cut.begin(cut.leaves), columns);
        for (int leaf = 0; leaf < cut.leaves; ++leaf) {
          EXPECT_LT(cut.begin(leaf), cut.begin(leaf + 1));
          EXPECT_EQ(cut.begin(leaf) % unit, 0);
        }
      }
}

TEST(SumTree, EqualPowersOfTwoOfRanksExchangeOneRootEach) {
  const LeafCut cut = LeafCut::split(11008, 32);
  ASSERT_EQ(cut.leaves, 64);
  for (int world : {1, 2, 4, 8})
    for (int rank = 0; rank < world; ++rank)
      EXPECT_EQ(roots_of({cut.leaves * rank / world, cut.leaves * (rank + 1) / world}).size(), 1u);
}

}  // namespace
}  // namespace llm_tp

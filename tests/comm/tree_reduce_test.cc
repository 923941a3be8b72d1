#include "comm/tree_reduce.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace llm_tp {
namespace {

std::vector<float> evaluate(const TreeParts& parts, const std::vector<std::vector<float>>& roots) {
  std::vector<const float*> pointers;
  for (const std::vector<float>& root : roots) pointers.push_back(root.data());
  std::vector<float> out(roots[0].size());
  evaluate_tree(parts.additions(), pointers, out.data(), static_cast<std::int64_t>(out.size()));
  return out;
}

TEST(TreeParts, CountsTheRootsOfEveryRank) {
  const TreeParts parts({{0, 3}, {3, 3}, {3, 8}});  // 0-1, 2 | none | 3, 4-7
  EXPECT_EQ(parts.world(), 3);
  EXPECT_EQ(parts.roots_of_rank(0), 2);
  EXPECT_EQ(parts.roots_of_rank(1), 0);
  EXPECT_EQ(parts.roots_of_rank(2), 2);
  EXPECT_EQ(parts.first_root_of_rank(2), 2);
  EXPECT_EQ(parts.total_roots(), 4);
  EXPECT_EQ(parts.additions().size(), 3U);
}

TEST(TreeParts, RefusesRunsThatLeaveALeafOut) {
  EXPECT_THROW(TreeParts({{0, 3}, {4, 8}}), Error);
  EXPECT_THROW(TreeParts({{0, 0}, {0, 0}}), Error);
}

TEST(EvaluateTree, CopiesAnOnlyRoot) {
  EXPECT_EQ(evaluate(TreeParts({{0, 4}}), {{1.0F, 2.0F}}), (std::vector<float>{1.0F, 2.0F}));
}

TEST(EvaluateTree, AddsNeighboursBeforeTheirSums) {
  // (big + -big) + (1 + 1) is 2; summed from left to right by another tree the ones would be lost.
  const float big = 1e30F;
  const TreeParts parts({{0, 1}, {1, 2}, {2, 3}, {3, 4}});
  EXPECT_EQ(evaluate(parts, {{big}, {-big}, {1.0F}, {1.0F}}), (std::vector<float>{2.0F}));
  EXPECT_EQ(evaluate(parts, {{big}, {1.0F}, {-big}, {1.0F}}), (std::vector<float>{0.0F}));
}

TEST(EvaluateTree, LeavesItsInputsAsTheyWere) {
  const TreeParts parts({{0, 1}, {1, 2}, {2, 3}});
  const std::vector<std::vector<float>> roots = {
      std::vector<float>(1300, 1.0F), std::vector<float>(1300, 2.0F), std::vector<float>(1300, 4.0F)};
  const auto before = roots;
  EXPECT_EQ(evaluate(parts, roots), std::vector<float>(1300, 7.0F));
  EXPECT_EQ(roots, before);
}

}  // namespace
}  // namespace llm_tp

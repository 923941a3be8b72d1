#include "base/sum_tree.h"

#include <algorithm>
#include <bit>

namespace llm_tp {
namespace {

int power_of_two_below(std::int64_t n) {
  return n < 1 ? 1 : static_cast<int>(std::bit_floor(static_cast<std::uint64_t>(n)));
}

}  // namespace

LeafCut LeafCut::whole(std::int64_t columns, std::int64_t unit) {
  LeafCut cut{columns, unit, 1};
  cut.leaves = power_of_two_below(std::min(columns / 256, cut.units()));
  return cut;
}

LeafCut LeafCut::split(std::int64_t columns, std::int64_t unit) {
  LeafCut cut{columns, unit, 1};
  cut.leaves = power_of_two_below(std::min<std::int64_t>(64, cut.units()));
  return cut;
}

std::vector<TreeRoot> roots_of(Range leaf_run) {
  std::vector<TreeRoot> roots;
  for (std::int64_t begin = leaf_run.begin; begin < leaf_run.end;) {
    int level = 0;
    while (begin % (std::int64_t{2} << level) == 0 && begin + (std::int64_t{2} << level) <= leaf_run.end)
      ++level;
    roots.push_back({level, begin});
    begin += std::int64_t{1} << level;
  }
  return roots;
}

std::vector<TreeAddition> additions_above(const std::vector<TreeRoot>& roots) {
  std::vector<TreeAddition> additions;
  struct Pending {
    int level, slot;
  };
  std::vector<Pending> stack;  // subtrees that wait for their right sibling, highest first
  for (std::size_t i = 0; i < roots.size(); ++i) {
    Pending node{roots[i].level, static_cast<int>(i)};
    while (!stack.empty() && stack.back().level == node.level) {
      additions.push_back({stack.back().slot, node.slot});
      node = {node.level + 1, stack.back().slot};
      stack.pop_back();
    }
    stack.push_back(node);
  }
  // Nodes without a right sibling rise unchanged until they are someone's right child.
  while (stack.size() > 1) {
    const int right = stack.back().slot;
    stack.pop_back();
    additions.push_back({stack.back().slot, right});
  }
  return additions;
}

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <vector>

#include "base/tensor.h"

namespace llm_tp {

/// How the K columns of a linear layer are cut into leaves: `leaves` runs of whole units, as equal as they
/// can be, in order. Every sum over K is: each leaf in index order, then the leaf sums along one binary tree:
///   node(level, i) = node(level - 1, 2i) + node(level - 1, 2i + 1);  a node without a right child is its
///   left child.
/// The cut depends on the model alone, so that the sum has the same bits for any number of ranks
/// (docs/numerics.md).
struct LeafCut {
  std::int64_t columns = 0;  // K of the whole layer
  std::int64_t unit = 1;     // columns that are never cut; the last unit may be shorter
  int leaves = 1;            // 1 <= leaves <= units()

  std::int64_t units() const noexcept { return (columns + unit - 1) / unit; }
  /// First column of leaf i; columns for i == leaves.
  std::int64_t begin(int leaf) const noexcept {
    const std::int64_t at = units() * leaf / leaves * unit;
    return at < columns ? at : columns;
  }
  Range columns_of(Range leaf_run) const noexcept {
    return {begin(static_cast<int>(leaf_run.begin)), begin(static_cast<int>(leaf_run.end))};
  }
  friend bool operator==(const LeafCut&, const LeafCut&) = default;

  /// The cut of a layer whose input lies whole on every rank (q, k, v, gate, up, LM head): a power of two of
  /// leaves of 256 columns or more, so the tree has one root. Leaves make long sums five times more exact;
  /// they cost nothing.
  static LeafCut whole(std::int64_t columns, std::int64_t unit);
  /// The cut of an MLP's down projection: the largest power of two of leaves up to 64.
  static LeafCut split(std::int64_t columns, std::int64_t unit);
};

/// A complete subtree: leaves [begin, begin + 2^level), begin a multiple of 2^level.
struct TreeRoot {
  int level = 0;
  std::int64_t begin = 0;
  friend bool operator==(const TreeRoot&, const TreeRoot&) = default;
};

/// The fewest complete subtrees that make up a run of leaves, in order. A rank computes the sums at these
/// roots.
std::vector<TreeRoot> roots_of(Range leaf_run);

/// One addition: slot[into] = slot[into] + slot[from]. After all of them slot 0 holds the sum of the tree.
struct TreeAddition {
  int into = 0, from = 0;
  friend bool operator==(const TreeAddition&, const TreeAddition&) = default;
};

/// What is left of the tree above `roots`, which cover all leaves in order; slot i starts as the sum of root
/// i. Left operand first; the order of the list is the order of evaluation. Empty for one root.
std::vector<TreeAddition> additions_above(const std::vector<TreeRoot>& roots);

}  // namespace llm_tp

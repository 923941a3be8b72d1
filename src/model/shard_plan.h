#pragma once
#include <span>
#include <vector>

#include "base/sum_tree.h"
#include "model/model_shape.h"

namespace llm_tp {

/// What must not be cut apart, from the dtypes of the weights.
struct ShardUnits {
  std::int64_t output_block = 1;  // K block of the attention output's weights: 1, or 32 for quantised ones
  std::int64_t down_block = 1;    // the same of the MLP's down projection
  std::int64_t expert_block = 1, shared_block = 1;  // and of the experts'
};

/// One rank's part of every layer, in global numbering. Ranges may be empty: an idle rank is legal.
struct RankShare {
  Range query_heads, kv_heads;    // kv_heads: those that its query heads read; neighbours may share one
  Range mlp_columns;              // of layers without experts
  Range experts, expert_columns;  // the experts it has a part of, and its columns of each
  Range shared_columns;           // of the expert that all tokens take
  Range vocab_rows;
  Range output_leaves, down_leaves, expert_leaves, shared_leaves;
};

/// Who holds what (docs/sharding.md). Pure: the same on every rank.
struct ShardPlan {
  LeafCut output_cut, down_cut;    // of attention's output and MLP's down projection
  LeafCut expert_cut, shared_cut;  // of the experts' down projections
  bool whole_experts = false;      // every expert lies on one rank; else a slice of each on every rank
  std::vector<RankShare> ranks;

  /// Whole KV groups for a rank where that costs the fullest rank at most an eighth more query heads, else
  /// query heads. shares: relative speeds of the ranks; empty: equal. Errors: kConfig for shares of another
  /// count or not positive. whole_experts: of no meaning for a model that has none.
  static ShardPlan make(const ModelShape& shape, int world, ShardUnits units,
                        std::span<const double> shares = {}, bool whole_experts = false);
};

/// Vocabulary rows that stay together, so that sums over the vocabulary have an order fixed by its size: at
/// most 256 runs, whole multiples of 16.
std::int64_t vocabulary_unit(std::int64_t vocabulary) noexcept;

/// Cuts `units` indivisible things over ranks by largest remainder, ties to the higher rank; contiguous, in
/// rank order.
std::vector<Range> cut_by_shares(std::int64_t units, std::span<const double> shares);

}  // namespace llm_tp

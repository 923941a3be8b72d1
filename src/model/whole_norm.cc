#include "model/whole_norm.h"

namespace llm_tp {

WholeNorm::WholeNorm(const ModelShape& shape, const ShardPlan& plan, int rank)
    : query_heads_(shape.query_heads),
      kv_heads_(shape.kv_heads),
      head_dim_(shape.head_dim),
      my_query_heads_(plan.ranks[static_cast<std::size_t>(rank)].query_heads),
      my_kv_heads_(plan.ranks[static_cast<std::size_t>(rank)].kv_heads),
      epsilon_(static_cast<float>(shape.norm_epsilon)) {
  for (const auto& [heads, range] :
       {std::pair(query_heads_, &RankShare::query_heads), std::pair(kv_heads_, &RankShare::kv_heads)})
    for (std::int64_t head = 0; head < heads; ++head) {
      int owner = 0;
      while (!(plan.ranks[static_cast<std::size_t>(owner)].*range).contains(head)) ++owner;
      owners_.push_back(owner);
    }
}

void WholeNorm::forward(const StepContext& step, TensorView q, TensorView k, TensorView query_weight,
                        TensorView key_weight) const {
  const TensorView squares =
      TensorView::matrix(step.workspace.squares.floats(), query_heads_ + kv_heads_, step.rows());
  const auto rows_of = [&](Range heads, std::int64_t first) {
    return squares.row_range(first + heads.begin, first + heads.end);
  };
  step.ops.head_squares(rows_of(my_query_heads_, 0), q);
  step.ops.head_squares(rows_of(my_kv_heads_, query_heads_), k);
  step.ranks.share_rows(squares, squares, owners_);
  step.ops.norm_by_squares(q, squares.row_range(0, query_heads_), query_heads_ * head_dim_, query_weight,
                           epsilon_);
  step.ops.norm_by_squares(k, squares.row_range(query_heads_, query_heads_ + kv_heads_),
                           kv_heads_ * head_dim_, key_weight, epsilon_);
}

}  // namespace llm_tp

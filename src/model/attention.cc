#include "model/attention.h"

#include <cmath>

namespace llm_tp {

HeadMap heads_of(const ModelShape& shape, const RankShare& share) {
  return {share.query_heads, share.kv_heads, static_cast<int>(shape.group()),
          static_cast<int>(shape.head_dim)};
}

Attention::Attention(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights,
                     int layer)
    : weights_(&weights),
      norm_(shape.style.query_key_norm),
      whole_norm_(shape, plan, rank),
      rope_(shape.layer(layer).rope),
      epsilon_(static_cast<float>(shape.norm_epsilon)),
      place_(kv_place_of(shape, layer)),
      layer_(layer) {
  heads_ = heads_of(shape, plan.ranks[static_cast<std::size_t>(rank)]);
  const double scale = shape.attention_scale > 0 ? shape.attention_scale
                                                 : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  options_ = {static_cast<float>(scale), shape.layer(layer).window, static_cast<float>(shape.attention_cap)};
}

HeadSteps Attention::head_steps(const StepContext& step) const {
  HeadSteps steps;
  if (norm_ == QueryKeyNorm::kHeads) {
    steps.query_norm = vector_of(weights_->query_norm, heads_.head_dim);
    steps.key_norm = vector_of(weights_->key_norm, heads_.head_dim);
    steps.norm_epsilon = epsilon_;
  }
  if (rope_ == LayerRope::kMain) steps.cos_sin = step.angles;
  if (rope_ == LayerRope::kLocal) steps.cos_sin = step.local_angles;
  return steps;
}

PartOutput Attention::forward(const StepContext& step, TensorView x) const {
  const std::int64_t rows = step.rows();
  const std::int64_t q_columns = heads_.query_heads.size() * heads_.head_dim,
                     kv_columns = heads_.kv_heads.size() * heads_.head_dim;
  const std::int64_t columns = q_columns + 2 * kv_columns;
  const TensorView qkv = TensorView::matrix(step.workspace.qkv.floats(), rows, columns);
  const TensorView attended = TensorView::matrix(step.workspace.attended.floats(), rows, q_columns);
  const TensorView q = qkv.column_range(0, q_columns),
                   k = qkv.column_range(q_columns, q_columns + kv_columns);
  const TensorView bias = vector_of(weights_->qkv_bias, columns);
  const KvStep& kv = step.kv[static_cast<std::size_t>(place_.group)];
  if (step.adapters.any() || norm_ == QueryKeyNorm::kWhole) {
    weights_->qkv.linear(step.ops, qkv, x, bias);
    if (step.adapters.any())
      step.adapters.set->add_whole(step.adapters.rows, layer_, &LayerAdapter::qkv, qkv, x);
    if (norm_ == QueryKeyNorm::kWhole)
      whole_norm_.forward(step, q, k, vector_of(weights_->query_norm, q_columns),
                          vector_of(weights_->key_norm, kv_columns));
    step.ops.prepare_heads(qkv, heads_, head_steps(step), *kv.cache, place_.layer, kv.batch);
  } else {
    weights_->qkv.linear_heads(step.ops, qkv, x, bias, heads_, head_steps(step), *kv.cache, place_.layer,
                               kv.batch);
  }
  step.ops.attend(attended, q, *kv.cache, place_.layer, kv.batch, heads_, options_);

  const TensorView roots = stack_of_roots(step, *weights_->output, rows);
  step.ops.linear_roots(roots, attended, *weights_->output);
  const PartOutput made = to_be_summed(step, roots, step.sums.output);
  if (!step.adapters.any()) return made;
  const TensorView summed = sum_over_ranks(step, made);
  step.adapters.set->add_summed(step.adapters.rows, layer_, &LayerAdapter::output, summed, attended,
                                step.sums.output);
  return {summed};
}

}  // namespace llm_tp

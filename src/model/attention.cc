#include "model/attention.h"

#include <cmath>

namespace llm_tp {

Attention::Attention(const ModelShape& shape, const RankShare& share, const LayerWeights& weights, int layer)
    : weights_(&weights), layer_(layer) {
  heads_ = {share.query_heads, share.kv_heads, static_cast<int>(shape.group()),
            static_cast<int>(shape.head_dim)};
  options_ = {static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim))), shape.window};
}

TensorView Attention::forward(const StepContext& step, TensorView x) const {
  const std::int64_t rows = step.rows();
  const std::int64_t q_columns = heads_.query_heads.size() * heads_.head_dim,
                     kv_columns = heads_.kv_heads.size() * heads_.head_dim;
  const std::int64_t columns = q_columns + 2 * kv_columns;
  const TensorView qkv = TensorView::matrix(step.workspace.qkv.floats(), rows, columns);
  const TensorView attended = TensorView::matrix(step.workspace.attended.floats(), rows, q_columns);
  if (q_columns > 0) {
    const TensorView bias = weights_->qkv_bias.data() != nullptr
                                ? TensorView::vector(weights_->qkv_bias.floats(), columns)
                                : TensorView{};
    weights_->qkv.linear(step.ops, qkv, x, bias);
    const TensorView q = qkv.column_range(0, q_columns),
                     k = qkv.column_range(q_columns, q_columns + kv_columns),
                     v = qkv.column_range(q_columns + kv_columns, columns);
    step.ops.rope(qkv.column_range(0, q_columns + kv_columns), step.cos_sin, heads_.head_dim);
    step.ops.write_kv(step.cache, layer_, k, v, step.batch);
    step.ops.attend(attended, q, step.cache, layer_, step.batch, heads_, options_);
  }
  const PackedWeight& output = *weights_->output;
  const TensorView roots = stack_of_roots(step, output);
  step.ops.linear_roots(roots, attended, output);
  return roots;
}

}  // namespace llm_tp

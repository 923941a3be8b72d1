#include "model/expert_mlp.h"

#include <numeric>

namespace llm_tp {

ExpertMlp::ExpertMlp(const ModelShape& shape, const LayerWeights& weights)
    : shape_(shape.experts), weights_(&weights) {
  for (const MlpWeights& expert : weights.experts) experts_.emplace_back(expert, shape.style.activation);
  if (weights.shared_router) shared_.emplace(weights.shared, shape.style.activation);
}

TensorView ExpertMlp::router_logits(const StepContext& step, TensorView x, const PackedWeight& router) const {
  const TensorView logits = TensorView::matrix(step.workspace.routed.floats(), x.rows(), router.spec().rows);
  step.ops.linear(logits, x, router, {});
  return step.ops.on_host(logits);
}

TensorView ExpertMlp::expert_outputs(const StepContext& step, TensorView x, const Routing& routing) const {
  const std::int64_t hidden = x.columns(), pairs = std::ssize(routing.tokens);
  const TensorView rows = TensorView::matrix(step.workspace.expert_rows.floats(), pairs, hidden);
  step.ops.gather_rows(rows, x, routing.tokens);
  const TensorView roots = stack_of_roots(step, experts_.front().down(), pairs);
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const std::int64_t begin = routing.begins[e], end = routing.begins[e + 1];
    if (begin == end) continue;
    // The planes of all experts' rows lie `pairs` rows apart; this expert writes its own rows of each.
    TensorView own = roots;
    own.data += row_bytes(DType::kF32, begin * hidden);
    experts_[e].partial(step, own, rows.row_range(begin, end));
  }
  return sum_over_ranks(step, roots, step.sums.expert);
}

TensorView ExpertMlp::forward(const StepContext& step, TensorView x) const {
  const TensorView mixed = TensorView::matrix(step.workspace.mixed.floats(), x.rows(), x.columns());
  const Routing routing = route(router_logits(step, x, *weights_->router), shape_);
  step.ops.clear(mixed);
  step.ops.add_rows(mixed, expert_outputs(step, x, routing), routing.tokens, routing.weights);
  if (shared_) {
    const std::vector<float> gates = sigmoids(router_logits(step, x, *weights_->shared_router));
    std::vector<std::int32_t> every_row(gates.size());
    std::iota(every_row.begin(), every_row.end(), 0);
    step.ops.add_rows(mixed, shared_->forward(step, x, step.sums.shared), every_row, gates);
  }
  return mixed;
}

}  // namespace llm_tp

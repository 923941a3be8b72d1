#include "model/expert_mlp.h"

#include <numeric>

namespace llm_tp {

ExpertMlp::ExpertMlp(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights)
    : shape_(shape.experts), mine_(plan.ranks[static_cast<std::size_t>(rank)].experts), weights_(&weights) {
  for (const MlpWeights& expert : weights.experts)
    experts_.emplace_back(expert, shape.style.activation, GatedMlp::kNotAdapted);
  if (weights.shared_router) shared_.emplace(weights.shared, shape.style.activation, GatedMlp::kNotAdapted);
  if (!plan.whole_experts) return;
  for (std::size_t r = 0; r < plan.ranks.size(); ++r)
    owners_.insert(owners_.end(), static_cast<std::size_t>(plan.ranks[r].experts.size()),
                   static_cast<int>(r));
}

TensorView ExpertMlp::router_logits(const StepContext& step, TensorView x, const PackedWeight& router) const {
  const TensorView logits = TensorView::matrix(step.workspace.routed.floats(), x.rows(), router.spec().rows);
  step.ops.linear(logits, x, router, {});
  return step.ops.on_host(logits);
}

void ExpertMlp::run_expert(const StepContext& step, std::size_t expert, const Routing& routing,
                           TensorView rows, TensorView out) const {
  const auto number = static_cast<std::size_t>(mine_.begin) + expert;
  const std::int64_t begin = routing.begins[number], end = routing.begins[number + 1];
  if (begin == end) return;
  // The planes of all experts' rows lie one after the other; this expert writes its own rows of each.
  out.data += row_bytes(DType::kF32, begin * out.row_stride);
  experts_[expert].partial(step, out, rows.row_range(begin, end));
}

TensorView ExpertMlp::expert_outputs(const StepContext& step, TensorView x, const Routing& routing) const {
  const std::int64_t hidden = x.columns(), pairs = std::ssize(routing.tokens);
  const TensorView rows = TensorView::matrix(step.workspace.expert_rows.floats(), pairs, hidden);
  step.ops.gather_rows(rows, x, routing.tokens);
  if (owners_.empty()) {
    const TensorView roots = stack_of_roots(step, experts_.front().down(), pairs);
    for (std::size_t e = 0; e < experts_.size(); ++e) run_expert(step, e, routing, rows, roots);
    return sum_over_ranks(step, to_be_summed(step, roots, *step.sums.expert));
  }
  // A whole expert has one root, the sum of its tree: the same bits as those that all ranks would add up to.
  const TensorView summed = TensorView::matrix(step.workspace.summed.floats(), pairs, hidden);
  const TensorView plane{summed.data, DType::kF32, 3, {1, pairs, hidden, 0}, hidden};
  for (std::size_t e = 0; e < experts_.size(); ++e) run_expert(step, e, routing, rows, plane);
  std::vector<int> row_owners;
  for (std::size_t e = 0; e < owners_.size(); ++e)
    row_owners.insert(row_owners.end(), static_cast<std::size_t>(routing.begins[e + 1] - routing.begins[e]),
                      owners_[e]);
  step.ranks.share_rows(summed, summed, row_owners);
  return summed;
}

PartOutput ExpertMlp::forward(const StepContext& step, TensorView x) const {
  const TensorView mixed = TensorView::matrix(step.workspace.mixed.floats(), x.rows(), x.columns());
  const Routing routing = route(router_logits(step, x, *weights_->router), shape_);
  step.ops.clear(mixed);
  step.ops.add_rows(mixed, expert_outputs(step, x, routing), routing.tokens, routing.weights);
  if (shared_) {
    const std::vector<float> gates = sigmoids(router_logits(step, x, *weights_->shared_router));
    std::vector<std::int32_t> every_row(gates.size());
    std::iota(every_row.begin(), every_row.end(), 0);
    step.ops.add_rows(mixed, sum_over_ranks(step, shared_->forward(step, x, step.sums.shared)), every_row,
                      gates);
  }
  return {mixed};
}

}  // namespace llm_tp

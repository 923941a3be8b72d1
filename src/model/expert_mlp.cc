#include "model/expert_mlp.h"

namespace llm_tp {
namespace {

std::unique_ptr<ExpertStack> stack(DeviceBackend& ops, const LayerWeights& weights, Range numbers,
                                   Activation activation) {
  std::vector<Expert> experts;
  for (const MlpWeights& expert : weights.experts) experts.push_back({&expert.gate_up, expert.down.get()});
  return ops.stack_experts(std::move(experts), numbers, activation);
}

}  // namespace

ExpertMlp::ExpertMlp(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
                     const LayerWeights& weights)
    : rule_(shape.experts.rule()),
      whole_(plan.whole_experts),
      weights_(&weights),
      experts_(
          stack(ops, weights, plan.ranks[static_cast<std::size_t>(rank)].experts, shape.style.activation)) {
  if (weights.shared_router) shared_.emplace(weights.shared, shape.style.activation, GatedMlp::kNotAdapted);
  if (!plan.whole_experts || plan.ranks.size() == 1) return;
  for (std::size_t r = 0; r < plan.ranks.size(); ++r)
    owners_.insert(owners_.end(), static_cast<std::size_t>(plan.ranks[r].experts.size()),
                   static_cast<int>(r));
}

TensorView ExpertMlp::router_logits(const StepContext& step, TensorView x, const PackedWeight& router) const {
  const TensorView logits = TensorView::matrix(step.workspace.routed.floats(), x.rows(), router.spec().rows);
  step.ops.linear(logits, x, router, {});
  return logits;
}

TensorView ExpertMlp::expert_outputs(const StepContext& step, TensorView x) const {
  const std::int64_t hidden = x.columns(), pairs = x.rows() * rule_.chosen, columns = experts_->columns();
  const Workspace& room = step.workspace;
  const ExpertRoom expert_room{TensorView::matrix(room.expert_rows.floats(), pairs, hidden),
                               TensorView::matrix(room.gate_up.floats(), x.rows(), 2 * columns),
                               TensorView::matrix(room.activated.floats(), pairs, columns)};
  if (!whole_) {
    const TensorView roots = stack_of_roots(step, *weights_->experts.front().down, pairs);
    step.ops.run_experts(roots, expert_room, x, *experts_, *room.routing);
    return sum_over_ranks(step, to_be_summed(step, roots, *step.sums.expert));
  }
  // A whole expert has one root, the sum of its tree: the same bits as those that all ranks would add up to.
  const TensorView summed = TensorView::matrix(room.summed.floats(), pairs, hidden);
  const TensorView plane{summed.data, DType::kF32, 3, {1, pairs, hidden, 0}, hidden};
  step.ops.run_experts(plane, expert_room, x, *experts_, *room.routing);
  if (owners_.empty()) return summed;
  const RoutingTables& routing = step.ops.routed(*room.routing);
  std::vector<int> row_owners;
  for (std::size_t e = 0; e < owners_.size(); ++e)
    row_owners.insert(row_owners.end(), static_cast<std::size_t>(routing.begins[e + 1] - routing.begins[e]),
                      owners_[e]);
  step.ranks.share_rows(summed, summed, row_owners);
  return summed;
}

PartOutput ExpertMlp::forward(const StepContext& step, TensorView x) const {
  const TensorView mixed = TensorView::matrix(step.workspace.mixed.floats(), x.rows(), x.columns());
  Routing& routing = *step.workspace.routing;
  step.ops.route(routing, router_logits(step, x, *weights_->router));
  step.ops.mix_experts(mixed, expert_outputs(step, x), routing);
  if (shared_) {
    const TensorView gates = router_logits(step, x, *weights_->shared_router);
    step.ops.add_gated(mixed, sum_over_ranks(step, shared_->forward(step, x, step.sums.shared)), gates);
  }
  return {mixed};
}

}  // namespace llm_tp

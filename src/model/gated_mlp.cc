#include "model/gated_mlp.h"

namespace llm_tp {

PartOutput GatedMlp::forward(const StepContext& step, TensorView x, const TreeParts& parts) const {
  const std::int64_t columns = weights_->gate_up.rows() / 2;
  const TensorView gate_up = TensorView::matrix(step.workspace.gate_up.floats(), x.rows(), 2 * columns);
  const TensorView activated = TensorView::matrix(step.workspace.activated.floats(), x.rows(), columns);
  const TensorView bias = vector_of(weights_->gate_up_bias, 2 * columns);
  if (adapts(step)) {
    weights_->gate_up.linear(step.ops, gate_up, x, bias);
    step.adapters.set->add_whole(step.adapters.rows, layer_, &LayerAdapter::gate_up, gate_up, x);
    step.ops.activate(activated, gate_up, activation_);
  } else {
    weights_->gate_up.linear_gated(step.ops, activated, gate_up, x, bias, activation_);
  }
  const TensorView roots = stack_of_roots(step, *weights_->down, x.rows());
  step.ops.linear_roots(roots, activated, *weights_->down);
  const PartOutput made = to_be_summed(step, roots, parts);
  if (!adapts(step)) return made;
  const TensorView summed = sum_over_ranks(step, made);
  step.adapters.set->add_summed(step.adapters.rows, layer_, &LayerAdapter::down, summed, activated, parts);
  return {summed};
}

}  // namespace llm_tp

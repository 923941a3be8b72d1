#include "model/gated_mlp.h"

namespace llm_tp {

TensorView GatedMlp::forward(const StepContext& step, TensorView x) const {
  const std::int64_t columns = weights_->gate_up.rows() / 2;
  const TensorView gate_up = TensorView::matrix(step.workspace.gate_up.floats(), step.rows(), 2 * columns);
  const TensorView activated = TensorView::matrix(step.workspace.activated.floats(), step.rows(), columns);
  const TensorView bias = weights_->gate_up_bias.data() != nullptr
                              ? TensorView::vector(weights_->gate_up_bias.floats(), 2 * columns)
                              : TensorView{};
  if (columns > 0) {
    weights_->gate_up.linear(step.ops, gate_up, x, bias);
    step.ops.silu_mul(activated, gate_up);
  }
  const TensorView roots = stack_of_roots(step, *weights_->down);
  step.ops.linear_roots(roots, activated, *weights_->down);
  return roots;
}

}  // namespace llm_tp

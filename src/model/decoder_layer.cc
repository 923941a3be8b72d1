#include "model/decoder_layer.h"

namespace llm_tp {

DecoderLayer::DecoderLayer(const ModelShape& shape, const ShardPlan& plan, int rank,
                           const LayerWeights& weights, int layer, const TreeParts& output_parts,
                           const TreeParts& down_parts)
    : weights_(&weights),
      attention_(shape, plan.ranks[static_cast<std::size_t>(rank)], weights, layer),
      mlp_(weights),
      output_parts_(&output_parts),
      down_parts_(&down_parts),
      epsilon_(static_cast<float>(shape.norm_epsilon)) {}

void DecoderLayer::forward(const StepContext& step, TensorView h) const {
  const TensorView normed = TensorView::matrix(step.workspace.normed.floats(), h.rows(), h.columns());
  step.ops.rms_norm(normed, h, TensorView::vector(weights_->attention_norm.floats(), h.columns()), epsilon_);
  add_from_all_ranks(step, h, attention_.forward(step, normed), *output_parts_,
                     weights_->output_bias);  // my heads
  step.ops.rms_norm(normed, h, TensorView::vector(weights_->mlp_norm.floats(), h.columns()), epsilon_);
  add_from_all_ranks(step, h, mlp_.forward(step, normed), *down_parts_, weights_->down_bias);  // my columns
}

void DecoderLayer::add_from_all_ranks(const StepContext& step, TensorView h, TensorView mine,
                                      const TreeParts& parts, const DeviceBuffer& bias) const {
  const TensorView summed = TensorView::matrix(step.workspace.summed.floats(), h.rows(), h.columns());
  step.ranks.sum_tree(summed, mine, parts);
  // The bias is added here, once: inside the partial outputs the sum over ranks would add it once per rank.
  step.ops.add(h, summed,
               bias.data() != nullptr ? TensorView::vector(bias.floats(), h.columns()) : TensorView{});
}

}  // namespace llm_tp

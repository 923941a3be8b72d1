#include "model/decoder_layer.h"

namespace llm_tp {
namespace {

std::variant<GatedMlp, ExpertMlp> mlp_of(const ModelShape& shape, const ShardPlan& plan, int rank,
                                         const LayerWeights& weights, int layer) {
  if (shape.layer(layer).experts) return ExpertMlp(shape, plan, rank, weights);
  return GatedMlp(weights.mlp, shape.style.activation, layer);
}

}  // namespace

DecoderLayer::DecoderLayer(const ModelShape& shape, const ShardPlan& plan, int rank,
                           const LayerWeights& weights, int layer)
    : weights_(&weights),
      attention_(shape, plan, rank, weights, layer),
      mlp_(mlp_of(shape, plan, rank, weights, layer)),
      epsilon_(static_cast<float>(shape.norm_epsilon)),
      residual_scale_(static_cast<float>(shape.residual_scale)) {}

void DecoderLayer::forward(const StepContext& step, TensorView h) const {
  add(step, h, attention_.forward(step, normed(step, h, weights_->attention_norm)), weights_->output_bias,
      weights_->attention_post_norm);
  add(step, h, mlp(step, normed(step, h, weights_->mlp_norm)), weights_->mlp.down_bias,
      weights_->mlp_post_norm);
}

TensorView DecoderLayer::mlp(const StepContext& step, TensorView x) const {
  if (const auto* experts = std::get_if<ExpertMlp>(&mlp_)) return experts->forward(step, x);
  return std::get<GatedMlp>(mlp_).forward(step, x, step.sums.down);
}

TensorView DecoderLayer::normed(const StepContext& step, TensorView h, const DeviceBuffer& norm) const {
  if (norm.data() == nullptr) return h;
  const TensorView out = TensorView::matrix(step.workspace.normed.floats(), h.rows(), h.columns());
  step.ops.rms_norm(out, h, vector_of(norm, h.columns()), epsilon_);
  return out;
}

void DecoderLayer::add(const StepContext& step, TensorView h, TensorView made, const DeviceBuffer& bias,
                       const DeviceBuffer& norm) const {
  if (norm.data() != nullptr) step.ops.rms_norm(made, made, vector_of(norm, h.columns()), epsilon_);
  // The bias is added here, once: inside the partial outputs the sum over ranks would add it once per rank.
  step.ops.add(h, made, vector_of(bias, h.columns()), residual_scale_);
}

}  // namespace llm_tp

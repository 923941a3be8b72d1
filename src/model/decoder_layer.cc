#include "model/decoder_layer.h"

namespace llm_tp {
namespace {

std::variant<GatedMlp, ExpertMlp> mlp_of(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan,
                                         int rank, const LayerWeights& weights, int layer) {
  if (shape.layer(layer).experts) return ExpertMlp(ops, shape, plan, rank, weights);
  return GatedMlp(weights.mlp, shape.style.activation, layer);
}

TensorView normed_room(const StepContext& step, TensorView h) {
  return TensorView::matrix(step.workspace.normed.floats(), h.rows(), h.columns());
}

}  // namespace

DecoderLayer::DecoderLayer(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
                           const LayerWeights& weights, int layer, const LayerWeights* next)
    : weights_(&weights),
      next_(next),
      attention_(shape, plan, rank, weights, layer),
      mlp_(mlp_of(ops, shape, plan, rank, weights, layer)),
      epsilon_(static_cast<float>(shape.norm_epsilon)),
      residual_scale_(static_cast<float>(shape.residual_scale)) {}

TensorView DecoderLayer::input(const StepContext& step, TensorView h) const {
  const DeviceBuffer& norm = weights_->attention_norm;
  if (norm.data() == nullptr) return h;
  const TensorView x = normed_room(step, h);
  step.ops.rms_norm(x, h, vector_of(norm, h.columns()), epsilon_);
  return x;
}

TensorView DecoderLayer::forward(const StepContext& step, TensorView h, TensorView x) const {
  x = add(step, h, attention_.forward(step, x), weights_->output_bias, weights_->attention_post_norm,
          &weights_->mlp_norm);
  return add(step, h, mlp(step, x), weights_->mlp.down_bias, weights_->mlp_post_norm,
             next_ != nullptr ? &next_->attention_norm : nullptr);
}

bool DecoderLayer::queues(const DeviceBackend& ops, std::int64_t rows) const {
  const auto* experts = std::get_if<ExpertMlp>(&mlp_);
  return experts == nullptr || experts->queues(ops, rows);
}

PartOutput DecoderLayer::mlp(const StepContext& step, TensorView x) const {
  if (const auto* experts = std::get_if<ExpertMlp>(&mlp_)) return experts->forward(step, x);
  return std::get<GatedMlp>(mlp_).forward(step, x, step.sums.down);
}

TensorView DecoderLayer::add(const StepContext& step, TensorView h, PartOutput made, const DeviceBuffer& bias,
                             const DeviceBuffer& norm, const DeviceBuffer* next_norm) const {
  if (norm.data() != nullptr) {
    made = {sum_over_ranks(step, made)};
    step.ops.rms_norm(made.tensor, made.tensor, vector_of(norm, h.columns()), epsilon_);
  }
  // The bias is added here, once: inside the partial outputs the sum over ranks would add it once per rank.
  const TensorView added = vector_of(bias, h.columns());
  if (next_norm == nullptr || next_norm->data() == nullptr) {
    step.ops.add(h, sum_over_ranks(step, made), added, residual_scale_);
    return h;
  }
  const TensorView x = normed_room(step, h);
  add_norm(step, {x, h, added, residual_scale_, vector_of(*next_norm, h.columns()), epsilon_}, made);
  return x;
}

}  // namespace llm_tp

#pragma once
#include <variant>

#include "model/attention.h"
#include "model/expert_mlp.h"
#include "model/gated_mlp.h"

namespace llm_tp {

/// A decoder layer (Vaswani et al. 2017): attention, then an MLP or a mixture of experts, each added to what
/// went in. Norms stand before them (Touvron et al. 2023), after them, or both, as the family has it.
class DecoderLayer {
 public:
  DecoderLayer(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights,
               int layer);
  /// h [T,H], the same on every rank, is carried through the layer.
  void forward(const StepContext& step, TensorView h) const;

 private:
  /// h normed; h itself where the family has no norm here.
  TensorView normed(const StepContext& step, TensorView h, const DeviceBuffer& norm) const;
  TensorView mlp(const StepContext& step, TensorView x) const;
  /// h += what a part of the layer made of it, plus the bias, normed where the family has a norm here.
  void add(const StepContext& step, TensorView h, TensorView made, const DeviceBuffer& bias,
           const DeviceBuffer& norm) const;

  const LayerWeights* weights_;
  Attention attention_;
  std::variant<GatedMlp, ExpertMlp> mlp_;
  float epsilon_, residual_scale_;
};

}  // namespace llm_tp

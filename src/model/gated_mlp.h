#pragma once
#include "model/rank_weights.h"
#include "model/step_context.h"

namespace llm_tp {

/// Gated MLP (SwiGLU and GeGLU, Shazeer 2020) over this rank's columns: down(act(gate x) * up x).
class GatedMlp {
 public:
  /// layer: where adapters have one for it; kNotAdapted: the expert that all tokens share.
  static constexpr int kNotAdapted = -1;
  GatedMlp(const MlpWeights& weights, Activation activation, int layer)
      : weights_(&weights), activation_(activation), layer_(layer) {}
  /// The output [n,H] of all ranks' columns, without its bias, in the workspace. x [n,H].
  PartOutput forward(const StepContext& step, TensorView x, const TreeParts& parts) const;

 private:
  bool adapts(const StepContext& step) const noexcept { return layer_ != kNotAdapted && step.adapters.any(); }
  const MlpWeights* weights_;
  Activation activation_;
  int layer_;
};

}  // namespace llm_tp

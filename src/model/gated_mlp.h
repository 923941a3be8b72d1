#pragma once
#include "model/rank_weights.h"
#include "model/step_context.h"

namespace llm_tp {

/// Gated MLP (SwiGLU, Shazeer 2020) over this rank's columns: down(silu(gate x) * up x).
class GatedMlp {
 public:
  explicit GatedMlp(const LayerWeights& weights) : weights_(&weights) {}
  /// The rank's partial outputs: [R,T,H], the roots of its columns' leaves. x [T,H] is normed. The view lives
  /// in the workspace.
  TensorView forward(const StepContext& step, TensorView x) const;

 private:
  const LayerWeights* weights_;
};

}  // namespace llm_tp

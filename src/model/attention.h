#pragma once
#include "model/rank_weights.h"
#include "model/step_context.h"

namespace llm_tp {

/// Grouped-query attention (Ainslie et al. 2023) over this rank's heads.
class Attention {
 public:
  Attention(const ModelShape& shape, const RankShare& share, const LayerWeights& weights, int layer);
  /// The rank's partial outputs: [R,T,H], the roots of its heads' leaves. x [T,H] is normed. The view lives
  /// in the workspace.
  TensorView forward(const StepContext& step, TensorView x) const;

 private:
  const LayerWeights* weights_;
  HeadMap heads_;
  AttentionOptions options_;
  int layer_;
};

}  // namespace llm_tp

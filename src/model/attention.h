#pragma once
#include "model/kv_groups.h"
#include "model/rank_weights.h"
#include "model/step_context.h"
#include "model/whole_norm.h"

namespace llm_tp {

/// The heads of one rank.
HeadMap heads_of(const ModelShape& shape, const RankShare& share);

/// Grouped-query attention (Ainslie et al. 2023) over this rank's heads.
class Attention {
 public:
  Attention(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights, int layer);
  /// The output [T,H] of all ranks' heads, without its bias, in the workspace. x [T,H].
  PartOutput forward(const StepContext& step, TensorView x) const;

 private:
  HeadSteps head_steps(const StepContext& step) const;

  const LayerWeights* weights_;
  HeadMap heads_;
  AttentionOptions options_;
  QueryKeyNorm norm_;
  WholeNorm whole_norm_;
  LayerRope rope_;
  float epsilon_;
  KvPlace place_;
  int layer_;  // of the model: place_ counts within its cache
};

}  // namespace llm_tp

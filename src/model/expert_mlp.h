#pragma once
#include <optional>
#include <vector>

#include "model/gated_mlp.h"
#include "model/routing.h"

namespace llm_tp {

/// A mixture of experts (Shazeer et al. 2017) over this rank's columns of each expert, or over the experts
/// that this rank has whole; the bits are the same. The sum of the chosen experts' outputs by their weights,
/// in order of expert, plus that of the shared expert where there is one. Tokens are grouped by expert, so
/// that each expert is one product of matrices.
class ExpertMlp {
 public:
  ExpertMlp(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights);
  /// The output [T,H] of all ranks, in the workspace. x [T,H].
  PartOutput forward(const StepContext& step, TensorView x) const;

 private:
  /// In host memory, until the next call.
  TensorView router_logits(const StepContext& step, TensorView x, const PackedWeight& router) const;
  /// Rows of the chosen experts, in the order of the routing, summed over ranks: [S,H].
  TensorView expert_outputs(const StepContext& step, TensorView x, const Routing& routing) const;

  /// Rows of one of this rank's experts: [begin, end) of the pairs.
  void run_expert(const StepContext& step, std::size_t expert, const Routing& routing, TensorView rows,
                  TensorView out) const;

  ExpertShape shape_;
  Range mine_;               // experts of this rank
  std::vector<int> owners_;  // of each expert, where experts are whole; else empty
  const LayerWeights* weights_;
  std::vector<GatedMlp> experts_;
  std::optional<GatedMlp> shared_;
};

}  // namespace llm_tp

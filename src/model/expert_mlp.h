#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "kernels/experts.h"
#include "model/gated_mlp.h"

namespace llm_tp {

/// A mixture of experts (Shazeer et al. 2017) over this rank's columns of each expert, or over the experts
/// that this rank has whole; the bits are the same. The sum of the chosen experts' outputs by their weights,
/// in order of expert, plus that of the shared expert where there is one. Tokens are grouped by expert, so
/// that each expert is one product of matrices.
class ExpertMlp {
 public:
  ExpertMlp(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
            const LayerWeights& weights);
  /// The output [T,H] of all ranks, in the workspace. x [T,H].
  PartOutput forward(const StepContext& step, TensorView x) const;
  /// forward() of so many rows only queues work on the device, if the sums over ranks do.
  bool queues(const DeviceBackend& ops, std::int64_t rows) const {
    return owners_.empty() && ops.queues_experts(*experts_, rule_, rows);
  }

 private:
  TensorView router_logits(const StepContext& step, TensorView x, const PackedWeight& router) const;
  /// Rows of the chosen experts, in the order of the routing, summed over ranks: [S,H].
  TensorView expert_outputs(const StepContext& step, TensorView x) const;

  RouterRule rule_;
  std::vector<int> owners_;  // of each expert, where several ranks have whole ones; else empty
  bool whole_;
  const LayerWeights* weights_;
  std::unique_ptr<ExpertStack> experts_;
  std::optional<GatedMlp> shared_;
};

}  // namespace llm_tp

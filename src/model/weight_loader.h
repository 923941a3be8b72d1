#pragma once
#include <functional>
#include <optional>

#include "model/model_shape.h"
#include "model/rank_weights.h"
#include "model/shard_plan.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// Reads headers alone until load(). Every tensor of the model is looked up and its shape checked against the
/// model's. Matrices have the dtype of the file in memory, each its own, or what `--dtype` asks for; biases,
/// norms and routers are f32. Errors: kBadData names the tensor, its shape and the one wanted.
class WeightLoader {
 public:
  WeightLoader(const ModelShape& shape, const WeightSource& source, std::optional<DType> wanted);
  /// Of a matrix in memory.
  DType dtype(WeightKey key) const;
  /// Blocks that no layer's weights may be cut in.
  ShardUnits units() const;

  /// What load() will allocate for one rank, and of what kinds.
  struct Sizes {
    std::int64_t weights = 0;                 // bytes
    std::vector<WeightSpec> kinds;            // of matrices, each once
    std::vector<std::int64_t> expert_stacks;  // ModelNeeds::expert_stacks
  };
  Sizes sizes(const ShardPlan& plan, int rank, const DeviceBackend& ops) const;
  /// progress(done, total): packed bytes of this rank.
  RankWeights load(const ShardPlan& plan, int rank, DeviceBackend& ops,
                   const std::function<void(std::int64_t, std::int64_t)>& progress) const;

 private:
  ModelShape shape_;
  const WeightSource* source_;
  std::optional<DType> wanted_;
};

}  // namespace llm_tp

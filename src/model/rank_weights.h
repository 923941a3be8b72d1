#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "model/model_shape.h"
#include "model/shard_plan.h"
#include "model/stacked_weight.h"
#include "weights/weight_source.h"

namespace llm_tp {

struct LayerWeights {
  DeviceBuffer attention_norm, mlp_norm;  // [H] f32
  StackedWeight qkv, gate_up;
  std::unique_ptr<PackedWeight> output, down;
  DeviceBuffer qkv_bias, output_bias, gate_up_bias, down_bias;  // f32; empty where the model has none
};

/// One rank's part of a checkpoint, packed for its device.
struct RankWeights {
  std::unique_ptr<PackedWeight> embedding, lm_head;  // vocabulary rows; lm_head is empty where tied
  DeviceBuffer final_norm;
  std::vector<LayerWeights> layers;
  const PackedWeight& head() const { return lm_head ? *lm_head : *embedding; }
};

/// Reads headers alone. Every tensor of the model is looked up and its shape checked against the model's.
/// Matrices have the dtype of the file in memory, each its own, or what `--dtype` asks for; biases and norms
/// are f32. Errors: kBadData names the tensor, its shape and the one wanted.
class WeightLoader {
 public:
  WeightLoader(const ModelShape& shape, const WeightSource& source, std::optional<DType> wanted);
  /// Of a matrix in memory.
  DType dtype(WeightKey key) const;
  /// Blocks that no layer's weights may be cut in.
  ShardUnits units() const;

  struct Bytes {
    std::int64_t weights = 0, largest = 0;
  };
  /// What load() will allocate for one rank.
  Bytes bytes(const ShardPlan& plan, int rank, const DeviceBackend& ops) const;
  /// progress(done, total): packed bytes of this rank.
  RankWeights load(const ShardPlan& plan, int rank, DeviceBackend& ops,
                   const std::function<void(std::int64_t, std::int64_t)>& progress) const;

 private:
  friend class RankLoad;
  WeightInfo require(WeightKey key, std::int64_t rows, std::int64_t columns) const;

  ModelShape shape_;
  const WeightSource* source_;
  std::optional<DType> wanted_;
};

}  // namespace llm_tp

#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "model/model_shape.h"
#include "model/shard_plan.h"
#include "weights/weight_source.h"

namespace llm_tp {

struct LayerWeights {
  DeviceBuffer attention_norm, mlp_norm;  // [H] f32
  std::unique_ptr<PackedWeight> qkv, output, gate_up, down;
  DeviceBuffer qkv_bias, output_bias, gate_up_bias, down_bias;  // f32; empty where the model has none
};

/// One rank's part of a checkpoint, packed for its device.
struct RankWeights {
  std::unique_ptr<PackedWeight> embedding, lm_head;  // vocabulary rows; lm_head is empty where tied
  DeviceBuffer final_norm;
  std::vector<LayerWeights> layers;
  const PackedWeight& head() const { return lm_head ? *lm_head : *embedding; }
};

/// Dtypes that the weights of a layer have in memory: the file's, or what `--dtype` asks for (biases and
/// norms are f32). Tensors that are packed together (q, k, v; gate, up) share the widest of theirs.
struct WeightTypes {
  DType embedding, lm_head, qkv, output, gate_up, down;
};

/// Reads headers alone. Every tensor of the model is looked up and its shape checked against the model's.
/// Errors: kBadData names the tensor, its shape and the one wanted.
class WeightLoader {
 public:
  WeightLoader(const ModelShape& shape, const WeightSource& source, std::optional<DType> wanted);
  const WeightTypes& types() const noexcept { return types_; }
  ShardUnits units() const noexcept;

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
  DType type_of(std::initializer_list<WeightRole> roles, std::int64_t columns,
                std::optional<DType> wanted) const;

  ModelShape shape_;
  const WeightSource* source_;
  WeightTypes types_{};
};

}  // namespace llm_tp

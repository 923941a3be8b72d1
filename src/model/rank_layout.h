#pragma once
#include <functional>
#include <vector>

#include "model/model_shape.h"
#include "model/rank_weights.h"
#include "model/shard_plan.h"

namespace llm_tp {

/// Rows of one tensor that become rows of a packed weight; of a vector: its elements.
struct TensorPart {
  WeightKey key;
  Range rows;
};

/// A packed weight to be made: its K and where its rows come from. Parts whose columns have scales of their
/// own are of one tensor.
struct Packing {
  DType dtype;
  LeafCut cut;
  Range leaves;
  std::vector<TensorPart> parts;
  bool gated = false;  // as WeightSpec has it
  /// Without column groups, which only the checkpoint knows.
  WeightSpec spec() const;
};

/// Takes every weight of a rank, in the order of the forward pass.
class WeightVisitor {
 public:
  virtual ~WeightVisitor() = default;
  virtual void matrix(std::unique_ptr<PackedWeight>& slot, const Packing& packing) = 0;
  virtual void stacked(StackedWeight& slot, const std::vector<Packing>& packings) = 0;
  /// The parts one after the other as f32, plus `added`.
  virtual void vector(DeviceBuffer& slot, const std::vector<TensorPart>& parts, float added) = 0;
};

/// What one rank holds of a model: each weight's place in RankWeights and its rows in the checkpoint.
/// Counting bytes and loading walk the same list.
class RankLayout {
 public:
  /// dtype_of: of a matrix in memory. Borrows all.
  RankLayout(const ModelShape& shape, const ShardPlan& plan, int rank,
             const std::function<DType(WeightKey)>& dtype_of);
  void walk(RankWeights& weights, WeightVisitor& visitor) const;

 private:
  void walk_layer(LayerWeights& layer, int number, WeightVisitor& visitor) const;
  void walk_attention(LayerWeights& layer, int number, WeightVisitor& visitor) const;
  void walk_experts(LayerWeights& layer, int number, WeightVisitor& visitor) const;
  void walk_mlp(MlpWeights& mlp, const std::vector<TensorPart>& gate_up, WeightKey down, const LeafCut& cut,
                Range leaves, WeightVisitor& visitor) const;

  /// Tensors whose input is whole on every rank, one below the other; neighbours of one dtype together.
  std::vector<Packing> column_parallel(const std::vector<TensorPart>& parts) const;
  /// Whole on every rank, in f32.
  Packing router(WeightKey key, std::int64_t rows) const;
  std::vector<TensorPart> qkv_parts(int layer) const;
  Range rows_of(Range heads) const { return {heads.begin * shape_.head_dim, heads.end * shape_.head_dim}; }

  const ModelShape& shape_;
  const ShardPlan& plan_;
  const RankShare& share_;
  const std::function<DType(WeightKey)>& dtype_of_;
};

}  // namespace llm_tp

#pragma once
#include "model/attention.h"
#include "model/gated_mlp.h"

namespace llm_tp {

/// A pre-norm decoder layer (Touvron et al. 2023).
class DecoderLayer {
 public:
  DecoderLayer(const ModelShape& shape, const ShardPlan& plan, int rank, const LayerWeights& weights,
               int layer, const TreeParts& output_parts, const TreeParts& down_parts);
  /// h [T,H], the same on every rank, is carried through the layer.
  void forward(const StepContext& step, TensorView h) const;

 private:
  /// h += the sum of all ranks' partial outputs, plus the bias.
  void add_from_all_ranks(const StepContext& step, TensorView h, TensorView mine, const TreeParts& parts,
                          const DeviceBuffer& bias) const;

  const LayerWeights* weights_;
  Attention attention_;
  GatedMlp mlp_;
  const TreeParts* output_parts_;
  const TreeParts* down_parts_;
  float epsilon_;
};

}  // namespace llm_tp

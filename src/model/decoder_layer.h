#pragma once
#include <variant>

#include "model/attention.h"
#include "model/expert_mlp.h"
#include "model/gated_mlp.h"

namespace llm_tp {

/// A decoder layer (Vaswani et al. 2017): attention, then an MLP or a mixture of experts, each added to what
/// went in. Norms stand before them (Touvron et al. 2023), after them, or both, as the family has it.
class DecoderLayer {
 public:
  /// next: the layer after this one; null for the last.
  DecoderLayer(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
               const LayerWeights& weights, int layer, const LayerWeights* next);
  /// What the first layer reads: h normed; h itself where the family has no norm here.
  TensorView input(const StepContext& step, TensorView h) const;
  /// h [T,H], the same on every rank, is carried through the layer; x: what the layer reads of it. Returns
  /// what the next one reads.
  TensorView forward(const StepContext& step, TensorView h, TensorView x) const;
  /// forward() of so many rows only queues work on the device, if the sums over ranks do.
  bool queues(const DeviceBackend& ops, std::int64_t rows) const;

 private:
  PartOutput mlp(const StepContext& step, TensorView x) const;
  /// h += what a part of the layer made of it, plus the bias, normed where the family has a norm here.
  /// Returns what the next part reads: h by next_norm, or h itself where that is null or empty.
  TensorView add(const StepContext& step, TensorView h, PartOutput made, const DeviceBuffer& bias,
                 const DeviceBuffer& norm, const DeviceBuffer* next_norm) const;

  const LayerWeights* weights_;
  const LayerWeights* next_;
  Attention attention_;
  std::variant<GatedMlp, ExpertMlp> mlp_;
  float epsilon_, residual_scale_;
};

}  // namespace llm_tp

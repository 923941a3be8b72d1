#pragma once
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "kernels/stacked_weight.h"

namespace llm_tp {

/// Of a gated MLP or one expert.
struct MlpWeights {
  StackedWeight gate_up;
  std::unique_ptr<PackedWeight> down;
  DeviceBuffer gate_up_bias, down_bias;  // f32; empty where the model has none
};

/// Norms [H], those of q and k [head_dim] or one number a column of this rank; f32, empty where the family
/// has none.
struct LayerWeights {
  DeviceBuffer attention_norm, attention_post_norm, mlp_norm, mlp_post_norm, query_norm, key_norm;
  StackedWeight qkv;
  std::unique_ptr<PackedWeight> output;
  DeviceBuffer qkv_bias, output_bias;
  MlpWeights mlp;                               // of a layer without experts
  std::unique_ptr<PackedWeight> router;         // [experts, H] f32, whole on every rank
  std::vector<MlpWeights> experts;              // of this rank, in order: its columns of each
  std::unique_ptr<PackedWeight> shared_router;  // [1, H] f32; empty where no expert is shared
  MlpWeights shared;
};

/// One rank's part of a checkpoint, packed for its device.
struct RankWeights {
  std::unique_ptr<PackedWeight> embedding, lm_head;  // vocabulary rows; lm_head is empty where tied
  DeviceBuffer final_norm;
  std::vector<LayerWeights> layers;
  const PackedWeight& head() const { return lm_head ? *lm_head : *embedding; }
};

}  // namespace llm_tp

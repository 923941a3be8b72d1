#pragma once
#include <span>
#include <string>
#include <string_view>

#include "weights/weight_source.h"

namespace llm_tp {

/// A family's own name of a tensor in Hugging Face checkpoints, without what the layer puts in front; "{}"
/// stands for the expert.
struct TensorName {
  WeightRole role;
  std::string_view huggingface;
};
/// Of a family: only what differs from Llama's names, and from Qwen's where Llama has no such tensor.
using TensorNames = std::span<const TensorName>;

/// "model.layers.3.self_attn.q_proj.weight": the name in a Hugging Face checkpoint.
std::string huggingface_name(WeightKey key, TensorNames own = {});
/// "blk.3.attn_q.weight": the name in a GGUF file. All experts of a layer share one tensor.
std::string gguf_name(WeightKey key);
/// Norm weights and biases; all others are matrices.
bool is_vector(WeightRole role) noexcept;
/// Embedding, final norm and LM head belong to no layer; their key has layer 0.
bool is_of_layer(WeightRole role) noexcept;
/// One of many in a layer: the key's expert counts.
bool is_of_expert(WeightRole role) noexcept;

}  // namespace llm_tp

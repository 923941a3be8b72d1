#pragma once
#include <string>

#include "weights/weight_source.h"

namespace llm_tp {

/// "model.layers.3.self_attn.q_proj.weight": the name in a Hugging Face checkpoint of Llama, Mistral or
/// Qwen2.
std::string huggingface_name(WeightKey key);
/// "blk.3.attn_q.weight": the name in a GGUF file.
std::string gguf_name(WeightKey key);
/// Norm weights and biases; all others are matrices.
bool is_vector(WeightRole role) noexcept;
/// Embedding, final norm and LM head belong to no layer; their key has layer 0.
bool is_of_layer(WeightRole role) noexcept;

}  // namespace llm_tp

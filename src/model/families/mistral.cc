#include <array>

#include "model/families/family.h"

namespace llm_tp {
namespace {

void read_mistral(const ConfigKeys& keys, ModelShape& shape) { set_window(shape, window_of(keys, 4096)); }

void read_mixtral(const ConfigKeys& keys, ModelShape& shape) {
  set_window(shape, window_of(keys, 0));
  shape.experts = {keys.required("num_local_experts"), keys.required("num_experts_per_tok"),
                   keys.required("intermediate_size"), 0, true};
  for (LayerShape& layer : every_layer(shape)) layer.experts = true;
}

void read_mixtral_gguf(const GgufFile& file, ModelShape& shape) {
  shape.experts = {gguf_integer(file, "expert_count", 0), gguf_integer(file, "expert_used_count", 0),
                   shape.mlp_columns, 0, true};
  for (LayerShape& layer : every_layer(shape)) layer.experts = true;
}

constexpr std::array<TensorName, 4> kExpertNames{{
    {WeightRole::kRouter, "block_sparse_moe.gate.weight"},
    {WeightRole::kExpertGate, "block_sparse_moe.experts.{}.w1.weight"},
    {WeightRole::kExpertUp, "block_sparse_moe.experts.{}.w3.weight"},
    {WeightRole::kExpertDown, "block_sparse_moe.experts.{}.w2.weight"},
}};

}  // namespace

/// Mistral and Mistral Nemo (Jiang et al. 2023): Llama with a sliding window and heads of any size. Their
/// GGUF files say llama.
const Family kMistral{.architecture = "MistralForCausalLM",
                      .gguf = "",
                      .style = {},
                      .gguf_interleaves = true,
                      .has_experts = false,
                      .defaults = {.kv_heads = 8, .context = 131072},
                      .read_config = read_mistral,
                      .read_gguf = nullptr};

/// Mixtral (Jiang et al. 2024).
const Family kMixtral{.architecture = "MixtralForCausalLM",
                      .gguf = "llama",
                      .style = {.names = kExpertNames},
                      .gguf_interleaves = true,
                      .has_experts = true,
                      .defaults = {.kv_heads = 8, .context = 131072, .norm_epsilon = 1e-5, .rope_theta = 1e6},
                      .read_config = read_mixtral,
                      .read_gguf = read_mixtral_gguf};

}  // namespace llm_tp

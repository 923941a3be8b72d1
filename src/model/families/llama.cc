#include "model/families/family.h"

namespace llm_tp {
namespace {

void read(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = shape.output_bias = keys.boolean("attention_bias", false);
  shape.mlp_bias = keys.boolean("mlp_bias", false);
}

}  // namespace

/// Llama 1, 2, 3.x (Touvron et al. 2023; Grattafiori et al. 2024), SmolLM2 and all that were built like them.
const Family kLlama{.architecture = "LlamaForCausalLM",
                    .gguf = "llama",
                    .style = {},
                    .gguf_interleaves = true,
                    .has_experts = false,
                    .read_config = read,
                    .read_gguf = nullptr};

}  // namespace llm_tp

#include "model/families/family.h"

namespace llm_tp {
namespace {

void read(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = shape.output_bias = keys.boolean("attention_bias", false);
  shape.mlp_bias = keys.boolean("mlp_bias", false);
  shape.embedding_scale = keys.real("embedding_multiplier", 1);
  shape.residual_scale = keys.real("residual_multiplier", 1);
  shape.attention_scale = keys.real("attention_multiplier", 1);
  if (!(shape.attention_scale > 0)) keys.refuse("attention_multiplier must be positive");
  const double divisor = keys.real("logits_scaling", 1);
  if (!(divisor > 0)) keys.refuse("logits_scaling must be positive");
  shape.logit_scale = 1 / divisor;
}

void read_gguf(const GgufFile& file, ModelShape& shape) {
  shape.embedding_scale = gguf_real(file, "embedding_scale", 1);
  shape.residual_scale = gguf_real(file, "residual_scale", 1);
  shape.attention_scale = gguf_real(file, "attention.scale", 0);
  shape.logit_scale = 1 / gguf_real(file, "logit_scale", 1);
}

}  // namespace

/// Granite 3 (IBM 2024): Llama with four scalars.
const Family kGranite{.architecture = "GraniteForCausalLM",
                      .gguf = "granite",
                      .style = {},
                      .gguf_interleaves = true,
                      .has_experts = false,
                      .read_config = read,
                      .read_gguf = read_gguf};

}  // namespace llm_tp

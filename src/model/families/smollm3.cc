#include "model/families/family.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kPeriod = 4;  // of layers without rotary embedding, where nothing else is said

void leave_out_each(ModelShape& shape, std::int64_t period) {
  std::int64_t number = 0;
  for (LayerShape& layer : every_layer(shape))
    layer.rope = ++number % period == 0 ? LayerRope::kNone : LayerRope::kMain;
}

void read(const ConfigKeys& keys, ModelShape& shape) {
  shape.tied_embeddings = keys.boolean("tie_word_embeddings", true);
  shape.qkv_bias = shape.output_bias = keys.boolean("attention_bias", false);
  shape.mlp_bias = keys.boolean("mlp_bias", false);
  if (keys.boolean("use_sliding_window", false))
    read_layer_types(keys, shape, keys.integer("sliding_window").value_or(0));
  const std::vector<double> rotates = keys.reals("no_rope_layers");  // 1: rotates, 0: does not
  if (rotates.empty())
    return leave_out_each(
        shape, keys.has("no_rope_layer_interval") ? keys.required("no_rope_layer_interval") : kPeriod);
  if (static_cast<std::int64_t>(rotates.size()) != shape.layers)
    keys.refuse("no_rope_layers has " + std::to_string(rotates.size()) + " entries, wanted one for each of " +
                std::to_string(shape.layers) + " layers");
  std::size_t i = 0;
  for (LayerShape& layer : every_layer(shape))
    layer.rope = rotates[i++] != 0 ? LayerRope::kMain : LayerRope::kNone;
}

void read_gguf(const GgufFile&, ModelShape& shape) { leave_out_each(shape, kPeriod); }

}  // namespace

/// SmolLM3 (Bakouch et al. 2025): Llama in which some layers do not rotate q and k (Yang et al. 2025).
const Family kSmolLm3{.architecture = "SmolLM3ForCausalLM",
                      .gguf = "smollm3",
                      .style = {},
                      .gguf_interleaves = true,
                      .has_experts = false,
                      .read_config = read,
                      .read_gguf = read_gguf};

}  // namespace llm_tp

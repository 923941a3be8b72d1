#include "model/families/family.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kPeriod = 4;  // of layers without rotary embedding, where nothing else is said

void leave_out_each(ModelShape& shape, std::int64_t period) {
  std::int64_t number = 0;
  for (LayerShape& layer : every_layer(shape))
    layer.rope = ++number % period == 0 ? LayerRope::kNone : LayerRope::kMain;
}

void read_rope_layers(const ConfigKeys& keys, ModelShape& shape) {
  const std::vector<std::int64_t> rotates = keys.integers("no_rope_layers");  // 1: rotates, 0: does not
  if (rotates.empty())
    return leave_out_each(
        shape, keys.has("no_rope_layer_interval") ? keys.required("no_rope_layer_interval") : kPeriod);
  if (static_cast<std::int64_t>(rotates.size()) != shape.layers)
    keys.refuse("no_rope_layers has " + std::to_string(rotates.size()) + " entries, wanted one for each of " +
                std::to_string(shape.layers) + " layers");
  std::size_t i = 0;
  for (LayerShape& layer : every_layer(shape)) {
    const std::int64_t entry = rotates[i++];
    if (entry > 1) keys.refuse("no_rope_layers holds " + std::to_string(entry) + ", wanted 0 or 1");
    layer.rope = entry == 1 ? LayerRope::kMain : LayerRope::kNone;
  }
}

void read(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = shape.output_bias = keys.boolean("attention_bias", false);
  shape.mlp_bias = keys.boolean("mlp_bias", false);
  read_rope_layers(keys, shape);
  if (!keys.boolean("use_sliding_window", false)) return;
  const std::int64_t window = window_of(keys, 0);
  if (read_layer_types(keys, shape, window)) return;
  // Where nothing else is said, layers that do not rotate are the windowed ones.
  for (LayerShape& layer : every_layer(shape)) layer.window = layer.rope == LayerRope::kNone ? window : 0;
}

void read_gguf(const GgufFile&, ModelShape& shape) { leave_out_each(shape, kPeriod); }

}  // namespace

/// SmolLM3 (Bakouch et al. 2025): Llama in which some layers do not rotate q and k (Yang et al. 2025).
const Family kSmolLm3{
    .architecture = "SmolLM3ForCausalLM",
    .gguf = "smollm3",
    .style = {},
    .gguf_interleaves = true,
    .has_experts = false,
    .defaults = {.kv_heads = 4, .context = 32768, .rope_theta = 2e6, .tied_embeddings = true},
    .read_config = read,
    .read_gguf = read_gguf};

}  // namespace llm_tp

#include <nlohmann/json.hpp>

#include "model/families/family.h"

namespace llm_tp {
namespace {

/// 0 where use_sliding_window does not ask for one.
std::int64_t window_in_use(const ConfigKeys& keys) {
  return keys.boolean("use_sliding_window", false) ? window_of(keys, 4096) : 0;
}

/// The first max_window_layers layers see everything.
void read_windows(const ConfigKeys& keys, ModelShape& shape) {
  const std::int64_t window = window_in_use(keys);
  if (window == 0 || read_layer_types(keys, shape, window)) return;
  const std::int64_t full = keys.integer("max_window_layers").value_or(28);
  std::int64_t number = 0;
  for (LayerShape& layer : every_layer(shape)) layer.window = number++ < full ? 0 : window;
}

void read_qwen2(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = true;
  read_windows(keys, shape);
}

void read_biases(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = shape.output_bias = keys.boolean("attention_bias", false);
}

void read_qwen3(const ConfigKeys& keys, ModelShape& shape) {
  read_biases(keys, shape);
  read_windows(keys, shape);
}

/// Every decoder_sparse_step-th layer has experts, but those of mlp_only_layers.
void read_experts(const ConfigKeys& keys, ModelShape& shape) {
  shape.experts = {keys.required("num_experts"), keys.required("num_experts_per_tok"),
                   keys.required("moe_intermediate_size"), 0, keys.boolean("norm_topk_prob", false)};
  const std::int64_t period = keys.has("decoder_sparse_step") ? keys.required("decoder_sparse_step") : 1;
  std::int64_t number = 0;
  for (LayerShape& layer : every_layer(shape)) layer.experts = ++number % period == 0;
  for (const std::int64_t dense : keys.integers("mlp_only_layers")) {
    if (dense >= shape.layers)
      keys.refuse("mlp_only_layers names layer " + std::to_string(dense) + " of " +
                  std::to_string(shape.layers));
    shape.each_layer[static_cast<std::size_t>(dense)].experts = false;
  }
}

void read_qwen2_moe(const ConfigKeys& keys, ModelShape& shape) {
  shape.qkv_bias = keys.boolean("qkv_bias", true);
  read_windows(keys, shape);
  read_experts(keys, shape);
  shape.experts.shared_columns = keys.required("shared_expert_intermediate_size");
}

/// Where there is a window, it is that of all layers.
void read_qwen3_moe(const ConfigKeys& keys, ModelShape& shape) {
  read_biases(keys, shape);
  set_window(shape, window_in_use(keys));
  read_experts(keys, shape);
}

void read_gguf_experts(const GgufFile& file, ModelShape& shape, bool normalise) {
  shape.experts = {gguf_integer(file, "expert_count", 0), gguf_integer(file, "expert_used_count", 0),
                   gguf_integer(file, "expert_feed_forward_length", 0),
                   gguf_integer(file, "expert_shared_feed_forward_length", 0), normalise};
  for (LayerShape& layer : every_layer(shape)) layer.experts = true;
}
void read_qwen2_moe_gguf(const GgufFile& file, ModelShape& shape) { read_gguf_experts(file, shape, false); }
void read_qwen3_moe_gguf(const GgufFile& file, ModelShape& shape) { read_gguf_experts(file, shape, true); }

constexpr LayerStyle kHeadNorms{.query_key_norm = QueryKeyNorm::kHeads};

}  // namespace

/// Qwen2 and 2.5 (Yang et al. 2024): biases on q, k and v.
const Family kQwen2{.architecture = "Qwen2ForCausalLM",
                    .gguf = "qwen2",
                    .style = {},
                    .gguf_interleaves = false,
                    .has_experts = false,
                    .defaults = {.kv_heads = 32, .context = 32768},
                    .read_config = read_qwen2,
                    .read_gguf = nullptr};
/// Qwen1.5-MoE, Qwen2-57B-A14B: an expert for all tokens besides the chosen ones.
const Family kQwen2Moe{.architecture = "Qwen2MoeForCausalLM",
                       .gguf = "qwen2moe",
                       .style = {},
                       .gguf_interleaves = false,
                       .has_experts = true,
                       .defaults = {.kv_heads = 16, .context = 32768},
                       .read_config = read_qwen2_moe,
                       .read_gguf = read_qwen2_moe_gguf};
/// Qwen3 (Yang et al. 2025): norms of every head of q and k.
const Family kQwen3{.architecture = "Qwen3ForCausalLM",
                    .gguf = "qwen3",
                    .style = kHeadNorms,
                    .gguf_interleaves = false,
                    .has_experts = false,
                    .defaults = {.kv_heads = 32, .head_dim = 128, .context = 32768},
                    .read_config = read_qwen3,
                    .read_gguf = nullptr};
const Family kQwen3Moe{.architecture = "Qwen3MoeForCausalLM",
                       .gguf = "qwen3moe",
                       .style = kHeadNorms,
                       .gguf_interleaves = false,
                       .has_experts = true,
                       .defaults = {.kv_heads = 4, .context = 32768},
                       .read_config = read_qwen3_moe,
                       .read_gguf = read_qwen3_moe_gguf};

}  // namespace llm_tp

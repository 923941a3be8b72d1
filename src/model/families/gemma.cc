#include <array>
#include <cmath>

#include "model/families/family.h"
#include "model/rope_config.h"

namespace llm_tp {
namespace {

constexpr std::array<TensorName, 1> kNames{{{WeightRole::kMlpNorm, "pre_feedforward_layernorm.weight"}}};

void scale_embedding(ModelShape& shape) {
  shape.embedding_scale = std::sqrt(static_cast<double>(shape.hidden));
}

/// A soft cap: `otherwise` where the key is absent, none where it is null.
double cap_at(const ConfigKeys& keys, const char* key, double otherwise) {
  if (!keys.has(key)) return keys.absent(key) ? otherwise : 0;
  const double cap = keys.real(key, 0);
  if (!(cap > 0)) keys.refuse(std::string(key) + " must be positive");
  return cap;
}

void read_common(const ConfigKeys& keys, ModelShape& shape) {
  if (keys.boolean("attention_bias", false)) keys.refuse("attention_bias true is not supported for Gemma");
  scale_embedding(shape);
  const double width = keys.real("query_pre_attn_scalar", 256);
  if (!(width > 0)) keys.refuse("query_pre_attn_scalar must be positive");
  shape.attention_scale = 1 / std::sqrt(width);
}

void read_gemma2(const ConfigKeys& keys, ModelShape& shape) {
  read_common(keys, shape);
  shape.attention_cap = cap_at(keys, "attn_logit_softcapping", 50);
  shape.logit_cap = cap_at(keys, "final_logit_softcapping", 30);
  const std::int64_t window = window_of(keys, 4096);
  if (!read_layer_types(keys, shape, window)) set_alternating_windows(shape, window, 2);
}

/// Windowed layers turn by their own base and are not stretched.
void set_local_rope(ModelShape& shape, double theta) {
  shape.local_rope.emplace().theta = theta;
  for (LayerShape& layer : every_layer(shape))
    if (layer.window > 0) layer.rope = LayerRope::kLocal;
}

void read_gemma3(const ConfigKeys& keys, ModelShape& shape) {
  if (keys.boolean("use_bidirectional_attention", false))
    keys.refuse("use_bidirectional_attention true is not supported: it is no decoder");
  read_common(keys, shape);
  shape.attention_cap = cap_at(keys, "attn_logit_softcapping", 0);
  shape.logit_cap = cap_at(keys, "final_logit_softcapping", 0);
  const std::int64_t window = window_of(keys, 4096);
  if (!read_layer_types(keys, shape, window))
    set_alternating_windows(shape, window,
                            keys.has("sliding_window_pattern") ? keys.required("sliding_window_pattern") : 6);
  constexpr double kLocalTheta = 10000;
  set_local_rope(
      shape,
      local_theta_from_config(keys, kLocalTheta).value_or(keys.real("rope_local_base_freq", kLocalTheta)));
}

/// The largest of each generation divides by the width of a head of the hidden state, the others by their
/// own.
void set_gguf_attention_scale(ModelShape& shape, std::int64_t layers_of_largest) {
  const std::int64_t width =
      shape.layers == layers_of_largest ? shape.hidden / shape.query_heads : shape.head_dim;
  shape.attention_scale = 1 / std::sqrt(static_cast<double>(width));
}

void read_gemma2_gguf(const GgufFile& file, ModelShape& shape) {
  scale_embedding(shape);
  set_gguf_attention_scale(shape, 46);
  shape.attention_cap = gguf_real(file, "attn_logit_softcapping", 50);
  shape.logit_cap = gguf_real(file, "final_logit_softcapping", 30);
  set_alternating_windows(shape, gguf_integer(file, "attention.sliding_window", 4096), 2);
}

void read_gemma3_gguf(const GgufFile& file, ModelShape& shape) {
  scale_embedding(shape);
  set_gguf_attention_scale(shape, 62);
  set_alternating_windows(shape, gguf_integer(file, "attention.sliding_window", 1024), 6);
  set_local_rope(shape, 10000);
}

constexpr ConfigDefaults kDefaults{.kv_heads = 4, .head_dim = 256, .context = 8192, .tied_embeddings = true};
constexpr ConfigDefaults kDefaults3{
    .kv_heads = 4, .head_dim = 256, .context = 131072, .rope_theta = 1e6, .tied_embeddings = true};

constexpr LayerStyle style(QueryKeyNorm norm) {
  return {.norms = NormPlaces::kAround,
          .query_key_norm = norm,
          .activation = Activation::kGelu,
          .norm_adds_one = true,
          .names = kNames};
}

}  // namespace

/// Gemma 2 (Gemma team 2024): norms around attention and MLP, GeGLU, soft caps, every second layer windowed.
const Family kGemma2{.architecture = "Gemma2ForCausalLM",
                     .gguf = "gemma2",
                     .style = style(QueryKeyNorm::kNone),
                     .gguf_interleaves = false,
                     .has_experts = false,
                     .defaults = kDefaults,
                     .read_config = read_gemma2,
                     .read_gguf = read_gemma2_gguf};
/// Gemma 3 (Gemma team 2025), its text part: norms of q and k instead of caps, five of six layers windowed.
const Family kGemma3{.architecture = "Gemma3ForCausalLM",
                     .gguf = "gemma3",
                     .style = style(QueryKeyNorm::kHeads),
                     .gguf_interleaves = false,
                     .has_experts = false,
                     .defaults = kDefaults3,
                     .read_config = read_gemma3,
                     .read_gguf = read_gemma3_gguf};

}  // namespace llm_tp

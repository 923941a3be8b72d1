#pragma once
#include <span>
#include <string_view>

#include "model/config_keys.h"
#include "model/model_shape.h"

namespace llm_tp {

class GgufFile;

/// What keys that config.json lacks stand for: the defaults of the family's class in transformers, which may
/// leave such keys out. Sizes that every file has are not among them.
struct ConfigDefaults {
  std::int64_t kv_heads = 0;  // 0: as many as query heads
  std::int64_t head_dim = 0;  // 0: hidden_size / num_attention_heads
  std::int64_t context = 2048;
  double norm_epsilon = 1e-6, rope_theta = 10000;
  bool tied_embeddings = false;
};

/// A family of decoders, described by what differs from Llama (docs/adding_a_model.md). One file a family.
struct Family {
  std::string_view architecture;  // config.json: architectures[0]
  std::string_view gguf;          // general.architecture of GGUF files; empty: there are none
  LayerStyle style;
  /// GGUF stores the rows of q and k in pairs that turn together.
  bool gguf_interleaves = false;
  bool has_experts = false;
  ConfigDefaults defaults = {};
  /// The family's own keys. The common sizes and the RoPE settings are in `shape` already.
  void (*read_config)(const ConfigKeys& keys, ModelShape& shape) = nullptr;
  void (*read_gguf)(const GgufFile& file, ModelShape& shape) = nullptr;
};

extern const Family kLlama, kMistral, kMixtral, kQwen2, kQwen2Moe, kQwen3, kQwen3Moe, kPhi3, kSmolLm3,
    kGranite, kOlmo2, kGemma2, kGemma3;

std::span<const Family* const> all_families();
/// nullptr where there is none.
const Family* family_of_architecture(std::string_view architecture);
const Family* family_of_gguf(std::string_view architecture, bool has_experts);

/// Number of positions at the key sliding_window: `otherwise` where it is absent, 0 where it is null.
std::int64_t window_of(const ConfigKeys& keys, std::int64_t otherwise);
/// The same window in every layer; 0: none.
void set_window(ModelShape& shape, std::int64_t window);
/// Turns the list layer_types of config.json, where there is one, into windows: "full_attention" has none,
/// "sliding_attention" has `window`. Gives false where the key is absent.
bool read_layer_types(const ConfigKeys& keys, ModelShape& shape, std::int64_t window);
/// Windows in all layers but each `period`-th.
void set_alternating_windows(ModelShape& shape, std::int64_t window, std::int64_t period);
/// Makes each_layer as long as there are layers.
std::vector<LayerShape>& every_layer(ModelShape& shape);
/// The number at "<architecture>.<name>" of a GGUF file.
double gguf_real(const GgufFile& file, const char* name, double otherwise);
std::int64_t gguf_integer(const GgufFile& file, const char* name, std::int64_t otherwise);

}  // namespace llm_tp

#include <nlohmann/json.hpp>

#include "base/json_file.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace llm_tp {
namespace {

DType dtype_of_checkpoint(const ConfigKeys& keys) {
  const char* key = keys.has("torch_dtype") ? "torch_dtype" : "dtype";  // transformers 5 says dtype
  const std::string name = keys.text(key).value_or("float32");
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  keys.refuse(std::string(key) + " \"" + name +
              "\" is not supported; supported are float32, float16 and bfloat16");
}

const Family& family_from(const ConfigKeys& keys) {
  const auto* list = keys.find("architectures");
  const std::string name = list != nullptr && list->is_array() && !list->empty() && list->front().is_string()
                               ? list->front().get<std::string>()
                               : std::string();
  if (const Family* family = family_of_architecture(name)) return *family;
  std::string supported;
  for (const Family* family : all_families())
    supported += (supported.empty() ? "" : ", ") + std::string(family->architecture);
  keys.refuse("architectures names \"" + name + "\"; supported are " + supported);
}

void check_activation(const ConfigKeys& keys, const LayerStyle& style) {
  const bool gelu = style.activation == Activation::kGelu;
  const char* key = gelu ? "hidden_activation" : "hidden_act";
  const std::string wanted = gelu ? "gelu_pytorch_tanh" : "silu";
  if (const auto found = keys.text(key); found && *found != wanted)
    keys.refuse(std::string(key) + " \"" + *found + "\" is not supported; supported is " + wanted);
}

/// The size at a key; the family's default where it is absent; nullopt where it is null or there is none.
std::optional<std::int64_t> size_at(const ConfigKeys& keys, const char* key, std::int64_t otherwise) {
  if (keys.has(key)) return keys.required(key);
  return keys.absent(key) && otherwise > 0 ? std::optional(otherwise) : std::nullopt;
}

std::int64_t head_dim_of(const ConfigKeys& keys, const ConfigDefaults& defaults, const ModelShape& shape) {
  if (const auto size = size_at(keys, "head_dim", defaults.head_dim)) return *size;
  if (shape.hidden % shape.query_heads != 0)
    keys.refuse("hidden_size " + std::to_string(shape.hidden) + " does not divide by num_attention_heads " +
                std::to_string(shape.query_heads));
  return shape.hidden / shape.query_heads;
}

}  // namespace

ModelShape ModelShape::from_config(const std::filesystem::path& config_json) {
  return from_config(read_json_object(config_json), config_json.string());
}

ModelShape ModelShape::from_config(const nlohmann::json& config, const std::string& where) {
  const ConfigKeys keys(config, where);
  const Family& family = family_from(keys);
  const ConfigDefaults& defaults = family.defaults;
  check_activation(keys, family.style);
  ModelShape shape;
  shape.architecture = family.architecture;
  shape.style = family.style;
  shape.hidden = keys.required("hidden_size");
  shape.layers = keys.required("num_hidden_layers");
  if (shape.layers > 4096)
    keys.refuse("num_hidden_layers is " + std::to_string(shape.layers) + ", more than the 4096 supported");
  shape.query_heads = keys.required("num_attention_heads");
  shape.kv_heads = size_at(keys, "num_key_value_heads", defaults.kv_heads).value_or(shape.query_heads);
  shape.head_dim = head_dim_of(keys, defaults, shape);
  shape.mlp_columns =
      family.has_experts ? keys.integer("intermediate_size").value_or(0) : keys.required("intermediate_size");
  shape.vocabulary = keys.required("vocab_size");
  shape.context = size_at(keys, "max_position_embeddings", defaults.context).value_or(defaults.context);
  shape.norm_epsilon = keys.real("rms_norm_eps", defaults.norm_epsilon);
  shape.tied_embeddings = keys.boolean("tie_word_embeddings", defaults.tied_embeddings);
  shape.rope = rope_from_config(keys, shape.head_dim, shape.context, defaults.rope_theta);
  shape.context = reach_of(shape.rope, shape.context);
  shape.checkpoint_dtype = dtype_of_checkpoint(keys);
  family.read_config(keys, shape);
  if (local_theta_from_config(keys, 0) && !shape.local_rope)
    keys.refuse("rope_parameters by kind of layer is not supported for " + shape.architecture);
  shape.check(keys.where());
  return shape;
}

}  // namespace llm_tp

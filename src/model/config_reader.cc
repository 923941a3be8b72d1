#include <nlohmann/json.hpp>

#include "base/json_file.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace llm_tp {
namespace {

DType dtype_of_checkpoint(const ConfigKeys& keys) {
  const std::string name = keys.text("torch_dtype").value_or(keys.text("dtype").value_or("float32"));
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  keys.refuse("torch_dtype \"" + name + "\" is not supported; supported are float32, float16 and bfloat16");
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

}  // namespace

ModelShape ModelShape::from_config(const std::filesystem::path& config_json) {
  const nlohmann::json object = read_json_object(config_json);
  const ConfigKeys keys(object, config_json.string());
  const Family& family = family_from(keys);
  check_activation(keys, family.style);
  ModelShape shape;
  shape.architecture = family.architecture;
  shape.style = family.style;
  shape.hidden = keys.required("hidden_size");
  shape.layers = keys.required("num_hidden_layers");
  if (shape.layers > 4096)
    keys.refuse("num_hidden_layers is " + std::to_string(shape.layers) + ", more than the 4096 supported");
  shape.query_heads = keys.required("num_attention_heads");
  shape.kv_heads = keys.has("num_key_value_heads") ? keys.required("num_key_value_heads") : shape.query_heads;
  if (keys.has("head_dim"))
    shape.head_dim = keys.required("head_dim");
  else if (shape.hidden % shape.query_heads != 0)
    keys.refuse("hidden_size " + std::to_string(shape.hidden) + " does not divide by num_attention_heads " +
                std::to_string(shape.query_heads));
  else
    shape.head_dim = shape.hidden / shape.query_heads;
  shape.mlp_columns =
      family.has_experts ? keys.integer("intermediate_size").value_or(0) : keys.required("intermediate_size");
  shape.vocabulary = keys.required("vocab_size");
  shape.context = keys.has("max_position_embeddings") ? keys.required("max_position_embeddings") : 2048;
  shape.norm_epsilon = keys.real("rms_norm_eps", 1e-6);
  shape.tied_embeddings = keys.boolean("tie_word_embeddings", false);
  shape.rope = rope_from_config(keys, shape.head_dim, shape.context);
  shape.context = reach_of(shape.rope, shape.context);
  shape.checkpoint_dtype = dtype_of_checkpoint(keys);
  family.read_config(keys, shape);
  shape.check(keys.where());
  return shape;
}

}  // namespace llm_tp

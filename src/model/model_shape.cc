#include "model/model_shape.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/json_file.h"
#include "weights/gguf.h"

namespace llm_tp {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostOfAnything = std::int64_t{1}
                                         << 31;  // no model has more layers, heads, columns or rows

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ExitCode::kBadData, where + ": " + what);
}

/// A config.json with typed access; null counts as absent.
class Keys {
 public:
  Keys(const json& object, std::string where) : object_(object), where_(std::move(where)) {}
  const std::string& where() const { return where_; }
  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  std::optional<std::int64_t> integer(const char* key) const {
    const json* v = find(key);
    if (v == nullptr) return std::nullopt;
    if (!v->is_number_integer())
      refuse(where_, std::string(key) + " is " + v->dump() + ", wanted an integer");
    const auto value = v->get<std::int64_t>();
    if (value < 0 || value > kMostOfAnything)
      refuse(where_, std::string(key) + " is " + v->dump() + ", out of range");
    return value;
  }
  std::int64_t required(const char* key) const {
    const auto value = integer(key);
    if (!value) refuse(where_, std::string("the key ") + key + " is missing");
    if (*value < 1)
      refuse(where_, std::string(key) + " is " + std::to_string(*value) + ", wanted at least 1");
    return *value;
  }
  double real(const char* key, double otherwise) const {
    const json* v = find(key);
    if (v == nullptr) return otherwise;
    if (!v->is_number()) refuse(where_, std::string(key) + " is " + v->dump() + ", wanted a number");
    return v->get<double>();
  }
  bool boolean(const char* key, bool otherwise) const {
    const json* v = find(key);
    if (v == nullptr) return otherwise;
    if (!v->is_boolean()) refuse(where_, std::string(key) + " is " + v->dump() + ", wanted true or false");
    return v->get<bool>();
  }
  std::optional<std::string> text(const char* key) const {
    const json* v = find(key);
    if (v == nullptr) return std::nullopt;
    if (!v->is_string()) refuse(where_, std::string(key) + " is " + v->dump() + ", wanted a string");
    return v->get<std::string>();
  }

 private:
  const json& object_;
  std::string where_;
};

RopeSettings rope_from(const Keys& keys) {
  RopeSettings rope;
  rope.theta = keys.real("rope_theta", 10000);
  const json* scaling = keys.find("rope_scaling");
  if (scaling == nullptr) return rope;
  if (!scaling->is_object())
    refuse(keys.where(), "rope_scaling is " + scaling->dump() + ", wanted an object");
  const Keys own(*scaling, keys.where() + ": rope_scaling");
  const std::string kind = own.text("rope_type").value_or(own.text("type").value_or("default"));
  if (kind == "default") return rope;
  if (kind != "linear" && kind != "llama3")
    refuse(own.where(),
           "rope_type \"" + kind + "\" is not supported; supported are default, linear and llama3");
  rope.kind = kind == "linear" ? RopeSettings::Kind::kLinear : RopeSettings::Kind::kLlama3;
  rope.factor = own.real("factor", 0);
  if (!(rope.factor >= 1)) refuse(own.where(), "factor must be a number of at least 1");
  if (rope.kind == RopeSettings::Kind::kLlama3) {
    rope.low_frequency_factor = own.real("low_freq_factor", 0);
    rope.high_frequency_factor = own.real("high_freq_factor", 0);
    rope.original_context = own.real("original_max_position_embeddings", 0);
    if (!(rope.low_frequency_factor > 0) || !(rope.high_frequency_factor > rope.low_frequency_factor) ||
        !(rope.original_context > 0))
      refuse(own.where(),
             "llama3 needs 0 < low_freq_factor < high_freq_factor and original_max_position_embeddings > 0");
  }
  return rope;
}

DType dtype_of_checkpoint(const Keys& keys) {
  const std::string name = keys.text("torch_dtype").value_or(keys.text("dtype").value_or("float32"));
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  refuse(keys.where(),
         "torch_dtype \"" + name + "\" is not supported; supported are float32, float16 and bfloat16");
}

}  // namespace

void ModelShape::check(const std::string& where) const {
  const auto positive = [&](std::int64_t value, const char* name) {
    if (value < 1 || value > kMostOfAnything)
      refuse(where, std::string(name) + " is " + std::to_string(value) + ", out of range");
  };
  positive(hidden, "the hidden size"), positive(layers, "the number of layers"),
      positive(query_heads, "the number of attention heads");
  positive(kv_heads, "the number of key/value heads"), positive(head_dim, "the head size"),
      positive(mlp_columns, "the MLP's width");
  positive(vocabulary, "the vocabulary"), positive(context, "the context");
  if (layers > 4096)
    refuse(where, std::to_string(layers) + " layers (num_hidden_layers) are more than the 4096 supported");
  if (query_heads > 4096)
    refuse(where, std::to_string(query_heads) +
                      " attention heads (num_attention_heads) are more than the 4096 supported");
  if (query_heads % kv_heads != 0)
    refuse(where, std::to_string(query_heads) + " attention heads do not divide by " +
                      std::to_string(kv_heads) + " key/value heads (num_key_value_heads)");
  if (head_dim % 2 != 0 || head_dim > 1024)
    refuse(where, "head_dim is " + std::to_string(head_dim) + ", wanted an even number up to 1024");
  if (!(norm_epsilon > 0) || norm_epsilon > 1)
    refuse(where, "the norm's epsilon (rms_norm_eps) is out of range");
  if (!(rope.theta > 0) || !std::isfinite(rope.theta)) refuse(where, "rope_theta is out of range");
}

ModelShape ModelShape::from_config(const std::filesystem::path& config_json) {
  const json object = read_json_object(config_json);
  const Keys keys(object, config_json.string());
  ModelShape shape;
  const json* list = keys.find("architectures");
  if (list != nullptr && list->is_array() && !list->empty() && list->front().is_string())
    shape.architecture = list->front();
  const bool llama = shape.architecture == "LlamaForCausalLM",
             mistral = shape.architecture == "MistralForCausalLM",
             qwen2 = shape.architecture == "Qwen2ForCausalLM";
  if (!llama && !mistral && !qwen2)
    refuse(keys.where(), "architectures names \"" + shape.architecture +
                             "\"; supported are LlamaForCausalLM, MistralForCausalLM and Qwen2ForCausalLM");
  if (keys.find("quantization_config") != nullptr)
    refuse(
        keys.where(),
        "quantization_config is not supported; use an unquantised checkpoint with --dtype, or a GGUF file");
  if (const auto activation = keys.text("hidden_act"); activation && *activation != "silu")
    refuse(keys.where(), "hidden_act \"" + *activation + "\" is not supported; supported is silu");

  shape.hidden = keys.required("hidden_size");
  shape.layers = keys.required("num_hidden_layers");
  shape.query_heads = keys.required("num_attention_heads");
  shape.kv_heads =
      keys.find("num_key_value_heads") != nullptr ? keys.required("num_key_value_heads") : shape.query_heads;
  if (keys.find("head_dim") != nullptr)
    shape.head_dim = keys.required("head_dim");
  else if (shape.hidden % shape.query_heads != 0)
    refuse(keys.where(), "hidden_size " + std::to_string(shape.hidden) +
                             " does not divide by num_attention_heads " + std::to_string(shape.query_heads));
  else
    shape.head_dim = shape.hidden / shape.query_heads;
  shape.mlp_columns = keys.required("intermediate_size");
  shape.vocabulary = keys.required("vocab_size");
  shape.context =
      keys.find("max_position_embeddings") != nullptr ? keys.required("max_position_embeddings") : 2048;
  shape.norm_epsilon = keys.real("rms_norm_eps", 1e-6);
  shape.tied_embeddings = keys.boolean("tie_word_embeddings", false);
  shape.qkv_bias = qwen2 || (llama && keys.boolean("attention_bias", false));
  shape.output_bias = llama && keys.boolean("attention_bias", false);
  shape.mlp_bias = llama && keys.boolean("mlp_bias", false);
  const bool windowed = mistral || (qwen2 && keys.boolean("use_sliding_window", false));
  if (windowed) shape.window = keys.integer("sliding_window").value_or(0);
  if (qwen2 && shape.window > 0 && keys.integer("max_window_layers").value_or(0) > 0)
    refuse(keys.where(), "use_sliding_window with max_window_layers is not supported");
  shape.rope = rope_from(keys);
  shape.checkpoint_dtype = dtype_of_checkpoint(keys);
  shape.check(keys.where());
  return shape;
}

ModelShape ModelShape::from_gguf(const GgufFile& file) {
  const std::string where = file.file_name();
  ModelShape shape;
  shape.architecture = std::string(file.string("general.architecture").value_or(""));
  if (shape.architecture != "llama" && shape.architecture != "qwen2")
    refuse(where, "general.architecture is \"" + shape.architecture + "\"; supported are llama and qwen2");
  const auto key = [&](const char* name) { return shape.architecture + "." + name; };
  const auto required = [&](const char* name) {
    const auto value = file.integer(key(name));
    if (!value) refuse(where, "the key " + key(name) + " is missing");
    return *value;
  };
  shape.hidden = required("embedding_length");
  shape.layers = required("block_count");
  shape.query_heads = required("attention.head_count");
  shape.kv_heads = file.integer(key("attention.head_count_kv")).value_or(shape.query_heads);
  if (shape.query_heads < 1)
    refuse(where,
           key("attention.head_count") + " is " + std::to_string(shape.query_heads) + ", wanted at least 1");
  if (shape.query_heads > 4096) refuse(where, key("attention.head_count") + " is out of range");
  shape.head_dim = file.integer(key("attention.key_length")).value_or(shape.hidden / shape.query_heads);
  if (file.integer(key("attention.value_length")).value_or(shape.head_dim) != shape.head_dim)
    refuse(where, key("attention.value_length") + " differs from the key length, which is not supported");
  if (file.integer(key("rope.dimension_count")).value_or(shape.head_dim) != shape.head_dim)
    refuse(where,
           key("rope.dimension_count") + " is not the head size: partly rotated heads are not supported");
  shape.mlp_columns = required("feed_forward_length");
  shape.context = required("context_length");
  const auto* embedding = file.tensor("token_embd.weight");
  if (embedding == nullptr || embedding->dimensions != 2)
    refuse(where, "the tensor token_embd.weight is missing or no matrix");
  shape.vocabulary = embedding->extents[1];
  shape.norm_epsilon = file.real(key("attention.layer_norm_rms_epsilon")).value_or(1e-5);
  shape.tied_embeddings = file.tensor("output.weight") == nullptr;
  shape.qkv_bias = file.tensor("blk.0.attn_q.bias") != nullptr;
  shape.output_bias = file.tensor("blk.0.attn_output.bias") != nullptr;
  shape.mlp_bias = file.tensor("blk.0.ffn_down.bias") != nullptr;
  shape.window = file.integer(key("attention.sliding_window")).value_or(0);
  if (file.integer(key("expert_count")).value_or(0) > 0)
    refuse(where, key("expert_count") + ": mixtures of experts are not supported");
  shape.rope.theta = file.real(key("rope.freq_base")).value_or(10000);
  if (const auto kind = file.string(key("rope.scaling.type")); kind && *kind != "none") {
    if (*kind != "linear")
      refuse(where, key("rope.scaling.type") + " \"" + std::string(*kind) +
                        "\" is not supported; supported are none and linear");
    shape.rope.kind = RopeSettings::Kind::kLinear;
    shape.rope.factor = file.real(key("rope.scaling.factor")).value_or(1);
    if (!(shape.rope.factor >= 1)) refuse(where, key("rope.scaling.factor") + " must be at least 1");
  }
  if (const GgufTensor* divisors = file.tensor("rope_freqs.weight")) {
    if (divisors->elements != shape.head_dim / 2 || dtype_of_ggml(divisors->type) != DType::kF32)
      refuse(where, "rope_freqs.weight is no F32 vector of half a head");
    for (std::int64_t i = 0; i < divisors->elements; ++i) {
      float divisor = 0;
      std::memcpy(&divisor, divisors->data.data() + i * 4, 4);
      if (!(divisor > 0)) refuse(where, "rope_freqs.weight holds a divisor that is not positive");
      shape.rope.divisors.push_back(divisor);
    }
  }
  shape.check(where);
  return shape;
}

}  // namespace llm_tp

#include <cmath>
#include <cstring>

#include "model/families/family.h"
#include "weights/ggml_types.h"
#include "weights/gguf.h"

namespace llm_tp {
namespace {

std::vector<double> divisors_of(const GgufFile& file, const char* name, std::int64_t pairs) {
  const GgufTensor* tensor = file.tensor(name);
  std::vector<double> divisors;
  if (tensor == nullptr) return divisors;
  if (tensor->elements != pairs || dtype_of_ggml(tensor->type) != DType::kF32)
    refuse_model(file.file_name(),
                 std::string(name) + " is no F32 vector of half the rotated part of a head");
  for (std::int64_t i = 0; i < tensor->elements; ++i) {
    float divisor = 0;
    std::memcpy(&divisor, tensor->data.data() + i * 4, 4);
    if (!(divisor > 0))
      refuse_model(file.file_name(), std::string(name) + " holds a divisor that is not positive");
    divisors.push_back(divisor);
  }
  return divisors;
}

void read_rope(const GgufFile& file, const std::string& architecture, ModelShape& shape) {
  using Kind = RopeSettings::Kind;
  const std::string where = file.file_name();
  RopeSettings& rope = shape.rope;
  rope.theta = gguf_real(file, "rope.freq_base", 10000);
  rope.rotary = gguf_integer(file, "rope.dimension_count", shape.head_dim);
  const std::int64_t pairs = rope.rotary / 2;
  const auto context = static_cast<double>(shape.context);
  const std::string kind(file.string(architecture + ".rope.scaling.type").value_or("none"));
  if (kind == "linear" || kind == "yarn") {
    rope.kind = kind == "linear" ? Kind::kLinear : Kind::kYarn;
    rope.factor = gguf_real(file, "rope.scaling.factor", 1);
    if (!(rope.factor >= 1)) refuse_model(where, architecture + ".rope.scaling.factor must be at least 1");
    rope.original_context = gguf_real(file, "rope.scaling.original_context_length", context);
    if (!(rope.original_context > 0))
      refuse_model(where, architecture + ".rope.scaling.original_context_length must be positive");
    if (rope.kind == Kind::kYarn) rope.attention_factor = 0.1 * std::log(rope.factor) + 1;
  } else if (kind != "none" && kind != "longrope") {
    refuse_model(where, architecture + ".rope.scaling.type \"" + kind +
                            "\" is not supported; supported are none, linear, yarn and longrope");
  }
  rope.divisors = divisors_of(file, "rope_freqs.weight", pairs);
  rope.long_divisors = divisors_of(file, "rope_factors_long.weight", pairs);
  if (rope.long_divisors.empty()) return;
  rope.kind = Kind::kLongRope;
  rope.divisors = divisors_of(file, "rope_factors_short.weight", pairs);
  if (rope.divisors.empty())
    refuse_model(where, "rope_factors_short.weight is missing beside rope_factors_long");
  rope.original_context = gguf_real(file, "rope.scaling.original_context_length", context);
  if (!(rope.original_context > 1))
    refuse_model(where, architecture + ".rope.scaling.original_context_length must be above 1");
  const double growth = context / rope.original_context;
  rope.attention_factor =
      gguf_real(file, "rope.scaling.attn_factor",
                growth <= 1 ? 1.0 : std::sqrt(1 + std::log(growth) / std::log(rope.original_context)));
}

}  // namespace

ModelShape ModelShape::from_gguf(const GgufFile& file) {
  const std::string where = file.file_name();
  const std::string architecture(file.string("general.architecture").value_or(""));
  const bool has_experts = gguf_integer(file, "expert_count", 0) > 0;
  const Family* family = family_of_gguf(architecture, has_experts);
  if (family == nullptr) {
    std::string supported;
    for (const Family* one : all_families())
      if (!one->gguf.empty() && one->has_experts == has_experts)
        supported += (supported.empty() ? "" : ", ") + std::string(one->gguf);
    refuse_model(where, "general.architecture is \"" + architecture + "\"; supported are " + supported +
                            (has_experts ? " of the mixtures of experts" : ""));
  }
  const auto required = [&](const char* name) {
    const std::string key = architecture + "." + name;
    const auto value = file.integer(key);
    if (!value) refuse_model(where, "the key " + key + " is missing");
    if (*value < 1 || *value > std::int64_t{1} << 31)
      refuse_model(where, key + " is " + std::to_string(*value) + ", wanted at least 1 and at most 2^31");
    return *value;
  };
  ModelShape shape;
  shape.architecture = architecture;
  shape.style = family->style;
  shape.style.norm_adds_one = false;  // files are written with the one added
  shape.interleaved_heads = family->gguf_interleaves;
  shape.hidden = required("embedding_length");
  shape.layers = required("block_count");
  if (shape.layers > 4096) refuse_model(where, architecture + ".block_count is out of range");
  shape.query_heads = required("attention.head_count");
  if (shape.query_heads > 4096) refuse_model(where, architecture + ".attention.head_count is out of range");
  shape.kv_heads = gguf_integer(file, "attention.head_count_kv", shape.query_heads);
  shape.head_dim = gguf_integer(file, "attention.key_length", shape.hidden / shape.query_heads);
  if (gguf_integer(file, "attention.value_length", shape.head_dim) != shape.head_dim)
    refuse_model(
        where, architecture + ".attention.value_length differs from the key length, which is not supported");
  shape.mlp_columns = required("feed_forward_length");
  shape.context = required("context_length");
  const auto* embedding = file.tensor("token_embd.weight");
  if (embedding == nullptr || embedding->dimensions != 2)
    refuse_model(where, "the tensor token_embd.weight is missing or no matrix");
  shape.vocabulary = embedding->extents[1];
  shape.norm_epsilon = gguf_real(file, "attention.layer_norm_rms_epsilon", 1e-5);
  shape.tied_embeddings = file.tensor("output.weight") == nullptr;
  shape.qkv_bias = file.tensor("blk.0.attn_q.bias") != nullptr;
  shape.output_bias = file.tensor("blk.0.attn_output.bias") != nullptr;
  shape.mlp_bias = file.tensor("blk.0.ffn_down.bias") != nullptr;
  if (const std::int64_t window = gguf_integer(file, "attention.sliding_window", 0); window > 0)
    for (LayerShape& layer : every_layer(shape)) layer.window = window;
  read_rope(file, architecture, shape);
  if (family->read_gguf != nullptr) family->read_gguf(file, shape);
  shape.check(where);
  return shape;
}

}  // namespace llm_tp

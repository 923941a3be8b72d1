#include "model/model_shape.h"

#include <algorithm>
#include <cmath>

#include "model/config_keys.h"

namespace llm_tp {
namespace {

// Beyond what any model has; bytes of all tensors, and of a cache of as many tokens, still fit 63 bits.
constexpr std::int64_t kMost = std::int64_t{1} << 31, kMostHidden = std::int64_t{1} << 20,
                       kMostColumns = std::int64_t{1} << 26, kMostVocabulary = std::int64_t{1} << 28,
                       kMostContext = std::int64_t{1} << 30, kMostHeadElements = std::int64_t{1} << 17,
                       kMostExpertMatrices = std::int64_t{1} << 18;

void check_rope(const RopeSettings& rope, std::int64_t head_dim, const std::string& where) {
  if (!(rope.theta > 1) || !std::isfinite(rope.theta)) refuse_model(where, "rope_theta is out of range");
  for (const double number : {rope.factor, rope.original_context, rope.attention_factor})
    if (!std::isfinite(number) || number < 0)
      refuse_model(where, "a number of the RoPE scaling (rope_scaling) is out of range");
  if (rope.rotary < 0 || rope.rotary % 2 != 0 || rope.rotary > head_dim)
    refuse_model(where, "the rotated part of a head is " + std::to_string(rope.rotary) + " of " +
                            std::to_string(head_dim) +
                            " elements (partial_rotary_factor), wanted an even number");
  if (rope.kind == RopeSettings::Kind::kDynamic && (rope.rotary > 0 ? rope.rotary : head_dim) < 4)
    refuse_model(where, "rope_scaling dynamic needs heads that turn 4 elements or more");
}

void check_experts(const ModelShape& shape, const std::string& where) {
  const ExpertShape& experts = shape.experts;
  if (experts.count == 0) return;
  if (experts.count < 1 || experts.count > 4096)
    refuse_model(where, std::to_string(experts.count) + " experts are out of range");
  if (experts.chosen < 1 || experts.chosen > experts.count)
    refuse_model(where, "num_experts_per_tok is " + std::to_string(experts.chosen) + " of " +
                            std::to_string(experts.count) + " experts");
  if (experts.columns < 1 || experts.columns > kMostColumns / experts.count)
    refuse_model(where, "the experts' width is " + std::to_string(experts.columns) + ", out of range");
  if (experts.shared_columns < 0 || experts.shared_columns > kMostColumns)
    refuse_model(where,
                 "the shared expert's width is " + std::to_string(experts.shared_columns) + ", out of range");
  if (shape.layers * experts.count > kMostExpertMatrices)
    refuse_model(where, std::to_string(shape.layers) + " layers of " + std::to_string(experts.count) +
                            " experts are more than the " + std::to_string(kMostExpertMatrices) +
                            " experts supported");
}

/// A GGUF file can hold any float.
void check_scalars(const ModelShape& shape, const std::string& where) {
  const auto check = [&](double value, bool negative_too, const char* name) {
    if (!std::isfinite(value) || (value < 0 && !negative_too))
      refuse_model(where, std::string(name) + " is out of range");
  };
  check(shape.embedding_scale, true, "the factor of the embedding");
  check(shape.residual_scale, true, "the factor of the residual");
  check(shape.logit_scale, true, "the factor of the logits");
  check(shape.attention_scale, false, "the factor of attention's scores");
  check(shape.attention_cap, false, "the soft cap of attention's scores");
  check(shape.logit_cap, false, "the soft cap of the logits");
  for (const LayerShape& layer : shape.each_layer)
    if (layer.window < 0 || layer.window > kMost)
      refuse_model(where, "the sliding window is " + std::to_string(layer.window) + ", out of range");
}

}  // namespace

bool ModelShape::any_dense_layer() const {
  return each_layer.empty() ||
         std::any_of(each_layer.begin(), each_layer.end(), [](const LayerShape& l) { return !l.experts; });
}

void ModelShape::check(const std::string& where) const {
  const auto positive = [&](std::int64_t value, const char* name, std::int64_t most = kMost) {
    if (value < 1 || value > most)
      refuse_model(where, std::string(name) + " is " + std::to_string(value) + ", out of range");
  };
  positive(hidden, "the hidden size (hidden_size)", kMostHidden), positive(layers, "the number of layers"),
      positive(query_heads, "the number of attention heads");
  positive(kv_heads, "the number of key/value heads"), positive(head_dim, "the head size"),
      positive(vocabulary, "the vocabulary (vocab_size)", kMostVocabulary),
      positive(context, "the context (max_position_embeddings)", kMostContext);
  if (any_dense_layer()) positive(mlp_columns, "the MLP's width (intermediate_size)", kMostColumns);
  if (layers > 4096)
    refuse_model(where,
                 std::to_string(layers) + " layers (num_hidden_layers) are more than the 4096 supported");
  if (query_heads > 4096)
    refuse_model(where, std::to_string(query_heads) +
                            " attention heads (num_attention_heads) are more than the 4096 supported");
  if (query_heads % kv_heads != 0)
    refuse_model(where, std::to_string(query_heads) + " attention heads do not divide by " +
                            std::to_string(kv_heads) + " key/value heads (num_key_value_heads)");
  if (head_dim % 2 != 0 || head_dim > 1024)
    refuse_model(where, "head_dim is " + std::to_string(head_dim) + ", wanted an even number up to 1024");
  if (query_heads * head_dim > kMostHeadElements)
    refuse_model(where, std::to_string(query_heads) + " attention heads (num_attention_heads) of " +
                            std::to_string(head_dim) + " elements are more than the " +
                            std::to_string(kMostHeadElements) + " elements supported");
  if (!(norm_epsilon > 0) || norm_epsilon > 1)
    refuse_model(where, "the norm's epsilon (rms_norm_eps) is out of range");
  check_rope(rope, head_dim, where);
  if (local_rope) check_rope(*local_rope, head_dim, where);
  check_scalars(*this, where);
  check_experts(*this, where);
}

std::vector<ModelTensor> tensors_of(const ModelShape& shape) {
  const std::int64_t h = shape.hidden, q = shape.query_heads * shape.head_dim,
                     kv = shape.kv_heads * shape.head_dim;
  const LayerStyle& style = shape.style;
  std::vector<ModelTensor> all{{{WeightRole::kEmbedding}, shape.vocabulary, h},
                               {{WeightRole::kFinalNorm}, 1, h}};
  if (!shape.tied_embeddings) all.push_back({{WeightRole::kLmHead}, shape.vocabulary, h});
  for (int layer = 0; layer < shape.layers; ++layer) {
    const auto need = [&](WeightRole role, std::int64_t rows, std::int64_t columns, int expert = 0) {
      all.push_back({{role, layer, expert}, rows, columns});
    };
    const auto need_mlp = [&](WeightRole gate, WeightRole up, WeightRole down, std::int64_t columns,
                              int expert = 0) {
      need(gate, columns, h, expert), need(up, columns, h, expert), need(down, h, columns, expert);
    };
    if (style.before()) need(WeightRole::kAttentionNorm, 1, h), need(WeightRole::kMlpNorm, 1, h);
    if (style.after()) need(WeightRole::kAttentionPostNorm, 1, h), need(WeightRole::kMlpPostNorm, 1, h);
    if (style.query_key_norm == QueryKeyNorm::kHeads)
      need(WeightRole::kQueryNorm, 1, shape.head_dim), need(WeightRole::kKeyNorm, 1, shape.head_dim);
    if (style.query_key_norm == QueryKeyNorm::kWhole)
      need(WeightRole::kQueryNorm, 1, q), need(WeightRole::kKeyNorm, 1, kv);
    if (style.fused_tensors)
      need(WeightRole::kQkv, q + 2 * kv, h);
    else
      need(WeightRole::kQuery, q, h), need(WeightRole::kKey, kv, h), need(WeightRole::kValue, kv, h);
    need(WeightRole::kOutput, h, q);
    if (shape.qkv_bias)
      need(WeightRole::kQueryBias, 1, q), need(WeightRole::kKeyBias, 1, kv),
          need(WeightRole::kValueBias, 1, kv);
    if (shape.output_bias) need(WeightRole::kOutputBias, 1, h);
    if (shape.layer(layer).experts) {
      const ExpertShape& experts = shape.experts;
      need(WeightRole::kRouter, experts.count, h);
      for (int e = 0; e < experts.count; ++e)
        need_mlp(WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown, experts.columns, e);
      if (experts.shared_columns == 0) continue;
      need(WeightRole::kSharedRouter, 1, h);
      need_mlp(WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown,
               experts.shared_columns);
      continue;
    }
    const std::int64_t c = shape.mlp_columns;
    if (style.fused_tensors)
      need(WeightRole::kGateUp, 2 * c, h), need(WeightRole::kDown, h, c);
    else
      need_mlp(WeightRole::kGate, WeightRole::kUp, WeightRole::kDown, c);
    if (shape.mlp_bias)
      need(WeightRole::kGateBias, 1, c), need(WeightRole::kUpBias, 1, c), need(WeightRole::kDownBias, 1, h);
  }
  return all;
}

}  // namespace llm_tp

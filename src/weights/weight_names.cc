#include "weights/weight_names.h"

#include <array>
#include <string_view>

namespace llm_tp {
namespace {

struct Names {
  WeightRole role;
  std::string_view huggingface, gguf;  // without what the layer puts in front
  bool vector;
};
constexpr std::array<Names, kWeightRoles> kNames{{
    {WeightRole::kEmbedding, "model.embed_tokens.weight", "token_embd.weight", false},
    {WeightRole::kFinalNorm, "model.norm.weight", "output_norm.weight", true},
    {WeightRole::kLmHead, "lm_head.weight", "output.weight", false},
    {WeightRole::kAttentionNorm, "input_layernorm.weight", "attn_norm.weight", true},
    {WeightRole::kQuery, "self_attn.q_proj.weight", "attn_q.weight", false},
    {WeightRole::kKey, "self_attn.k_proj.weight", "attn_k.weight", false},
    {WeightRole::kValue, "self_attn.v_proj.weight", "attn_v.weight", false},
    {WeightRole::kOutput, "self_attn.o_proj.weight", "attn_output.weight", false},
    {WeightRole::kQueryBias, "self_attn.q_proj.bias", "attn_q.bias", true},
    {WeightRole::kKeyBias, "self_attn.k_proj.bias", "attn_k.bias", true},
    {WeightRole::kValueBias, "self_attn.v_proj.bias", "attn_v.bias", true},
    {WeightRole::kOutputBias, "self_attn.o_proj.bias", "attn_output.bias", true},
    {WeightRole::kMlpNorm, "post_attention_layernorm.weight", "ffn_norm.weight", true},
    {WeightRole::kGate, "mlp.gate_proj.weight", "ffn_gate.weight", false},
    {WeightRole::kUp, "mlp.up_proj.weight", "ffn_up.weight", false},
    {WeightRole::kDown, "mlp.down_proj.weight", "ffn_down.weight", false},
    {WeightRole::kGateBias, "mlp.gate_proj.bias", "ffn_gate.bias", true},
    {WeightRole::kUpBias, "mlp.up_proj.bias", "ffn_up.bias", true},
    {WeightRole::kDownBias, "mlp.down_proj.bias", "ffn_down.bias", true},
    {WeightRole::kQkv, "self_attn.qkv_proj.weight", "attn_qkv.weight", false},
    {WeightRole::kGateUp, "mlp.gate_up_proj.weight", "ffn_up.weight", false},
    {WeightRole::kAttentionPostNorm, "post_attention_layernorm.weight", "post_attention_norm.weight", true},
    {WeightRole::kMlpPostNorm, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", true},
    {WeightRole::kQueryNorm, "self_attn.q_norm.weight", "attn_q_norm.weight", true},
    {WeightRole::kKeyNorm, "self_attn.k_norm.weight", "attn_k_norm.weight", true},
    {WeightRole::kRouter, "mlp.gate.weight", "ffn_gate_inp.weight", false},
    {WeightRole::kExpertGate, "mlp.experts.{}.gate_proj.weight", "ffn_gate_exps.weight", false},
    {WeightRole::kExpertUp, "mlp.experts.{}.up_proj.weight", "ffn_up_exps.weight", false},
    {WeightRole::kExpertDown, "mlp.experts.{}.down_proj.weight", "ffn_down_exps.weight", false},
    {WeightRole::kSharedRouter, "mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", false},
    {WeightRole::kSharedGate, "mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight", false},
    {WeightRole::kSharedUp, "mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight", false},
    {WeightRole::kSharedDown, "mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight", false},
}};

constexpr bool in_order_of_roles() {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (static_cast<std::size_t>(kNames[i].role) != i) return false;
  return true;
}
static_assert(in_order_of_roles());

const Names& names_of(WeightRole role) { return kNames[static_cast<std::size_t>(role)]; }

std::string with_layer(std::string_view prefix, WeightKey key, std::string_view name) {
  if (!is_of_layer(key.role)) return std::string(name);
  std::string whole = std::string(prefix).append(std::to_string(key.layer)).append(".").append(name);
  if (const auto at = whole.find("{}"); at != std::string::npos)
    whole.replace(at, 2, std::to_string(key.expert));
  return whole;
}

}  // namespace

std::string huggingface_name(WeightKey key, TensorNames own) {
  std::string_view name = names_of(key.role).huggingface;
  for (const TensorName& other : own)
    if (other.role == key.role) name = other.huggingface;
  return with_layer("model.layers.", key, name);
}
std::string gguf_name(WeightKey key) { return with_layer("blk.", key, names_of(key.role).gguf); }
bool is_vector(WeightRole role) noexcept { return names_of(role).vector; }
bool is_of_layer(WeightRole role) noexcept { return role > WeightRole::kLmHead; }
bool is_of_expert(WeightRole role) noexcept {
  return role == WeightRole::kExpertGate || role == WeightRole::kExpertUp || role == WeightRole::kExpertDown;
}

}  // namespace llm_tp

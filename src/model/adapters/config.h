#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llm_tp {

/// What adapter_config.json of a PEFT folder says about a LoRA adapter (Hu et al. 2021): a layer's W becomes
/// W + scale * B A, with scale = alpha / rank, or alpha / sqrt(rank) (Kalajdzievski 2023: rsLoRA).
struct AdapterConfig {
  std::string where;  // the file, for messages
  std::int64_t rank = 0;
  double alpha = 0;
  bool rank_stabilised = false;
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;  // of modules that have their own
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<std::string> targets;  // ends of module names; empty: a pattern, and the tensors say which

  /// Errors: kBadData names the key: for another method than LoRA, DoRA, trained biases, modules_to_save, and
  /// what else would change the model in a way that is not there.
  static AdapterConfig from_json(const nlohmann::json& object, const std::string& where);
  std::int64_t rank_of(std::string_view module) const;
  double scale_of(std::string_view module) const;
};

/// "q_proj" and "self_attn.q_proj" name model.layers.0.self_attn.q_proj.
bool names_module(std::string_view name, std::string_view module) noexcept;

}  // namespace llm_tp

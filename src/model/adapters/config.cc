#include "model/adapters/config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_keys.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kHighestRank = 65536;

/// Keys that must say nothing: null, false, empty.
struct Refusal {
  const char* key;
  const char* why;
};
constexpr std::array<Refusal, 9> kRefused{{
    {"use_dora", "DoRA rescales every row of the merged weight, which no product of two matrices does"},
    {"modules_to_save", "whole modules beside LoRA's matrices are not supported"},
    {"lora_bias", "biases of LoRA's matrices are not supported"},
    {"fan_in_fan_out", "no supported family stores its weights transposed"},
    {"use_qalora", "QA-LoRA pools its inputs, which is not supported"},
    {"layer_replication", "a model with repeated layers is another model"},
    {"target_parameters", "adapters of single parameters are not supported"},
    {"trainable_token_indices", "trained embedding rows are not supported"},
    {"alora_invocation_tokens", "adapters that start at a token are not supported"},
}};

bool says_nothing(const nlohmann::json& value) {
  return value == false || ((value.is_array() || value.is_object() || value.is_string()) && value.empty());
}

void check_number(const ConfigKeys& keys, const std::string& key, double value) {
  if (!std::isfinite(value) || std::abs(value) > 1e6)
    keys.refuse(key + " is " + nlohmann::json(value).dump() + ", wanted a number from -1e6 to 1e6");
}

std::int64_t checked_rank(const ConfigKeys& keys, const std::string& key, const nlohmann::json& value) {
  if (!value.is_number_integer() || value < 1 || value > kHighestRank)
    keys.refuse(key + " is " + value.dump() + ", wanted a whole number from 1 to " +
                std::to_string(kHighestRank));
  return value.get<std::int64_t>();
}

/// The object of a *_pattern; its names are taken as they stand.
const nlohmann::json& pattern_of(const ConfigKeys& keys, const char* key) {
  static const nlohmann::json kNone = nlohmann::json::object();
  const auto* found = keys.find(key);
  if (found == nullptr) return kNone;
  if (!found->is_object()) keys.refuse(std::string(key) + ": wanted an object of module names and numbers");
  for (const auto& [name, value] : found->items())
    if (name.empty() || name.find_first_of("*+?[](){}|^$\\") != std::string::npos)
      keys.refuse(std::string(key) + ": \"" + name.substr(0, 80) +
                  "\" is a regular expression, wanted the end of a module's name");
  return *found;
}

std::vector<std::string> targets_of(const ConfigKeys& keys) {
  std::vector<std::string> targets;
  const auto* found = keys.find("target_modules");
  if (found == nullptr) keys.refuse("the key target_modules is missing");
  if (found->is_string()) return targets;
  if (!found->is_array() || found->empty())
    keys.refuse("target_modules: wanted a list of module names or a pattern");
  for (const auto& name : *found) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty())
      keys.refuse("target_modules holds " + name.dump() + ", wanted module names");
    targets.push_back(name.get<std::string>());
  }
  return targets;
}

void refuse_what_is_not_there(const ConfigKeys& keys) {
  const auto method = keys.text("peft_type");
  if (method != "LORA")
    keys.refuse("peft_type is " + (method ? "\"" + *method + "\"" : std::string("missing")) +
                ", wanted \"LORA\"");
  if (const auto task = keys.text("task_type"); task && *task != "CAUSAL_LM")
    keys.refuse("task_type is \"" + *task + "\", wanted \"CAUSAL_LM\": only decoders are adapted");
  if (const auto bias = keys.text("bias"); bias && *bias != "none")
    keys.refuse("bias is \"" + *bias + "\", wanted \"none\": trained biases are not supported");
  for (const Refusal& refused : kRefused)
    if (const auto* value = keys.find(refused.key); value != nullptr && !says_nothing(*value))
      keys.refuse(std::string(refused.key) + " is " + value->dump().substr(0, 80) + ": " + refused.why);
  // Those that take the first product out of the base's weights are of no use without that changed base.
  if (const auto* way = keys.find("init_lora_weights"); way != nullptr && way->is_string()) {
    const auto& name = way->get_ref<const std::string&>();
    for (const char* changes : {"pissa", "olora", "corda", "loftq"})
      if (name.starts_with(changes))
        keys.refuse("init_lora_weights is \"" + name.substr(0, 40) +
                    "\", which changes the base's weights; save the adapter as plain LoRA");
  }
}

}  // namespace

bool names_module(std::string_view name, std::string_view module) noexcept {
  if (!module.ends_with(name)) return false;
  return module.size() == name.size() || module[module.size() - name.size() - 1] == '.';
}

AdapterConfig AdapterConfig::from_json(const nlohmann::json& object, const std::string& where) {
  const ConfigKeys keys(object, where);
  refuse_what_is_not_there(keys);
  AdapterConfig config;
  config.where = where;
  const auto* rank = keys.find("r");
  if (rank == nullptr) keys.refuse("the key r is missing: the rank of the adapter");
  config.rank = checked_rank(keys, "r", *rank);
  if (!keys.has("lora_alpha")) keys.refuse("the key lora_alpha is missing");
  config.alpha = keys.real("lora_alpha", 0);
  check_number(keys, "lora_alpha", config.alpha);
  config.rank_stabilised = keys.boolean("use_rslora", false);
  for (const auto& [name, value] : pattern_of(keys, "rank_pattern").items())
    config.rank_pattern.emplace_back(name, checked_rank(keys, "rank_pattern: " + name, value));
  for (const auto& [name, value] : pattern_of(keys, "alpha_pattern").items()) {
    if (!value.is_number())
      keys.refuse("alpha_pattern: " + name + " is " + value.dump() + ", wanted a number");
    check_number(keys, "alpha_pattern: " + name, value.get<double>());
    config.alpha_pattern.emplace_back(name, value.get<double>());
  }
  config.targets = targets_of(keys);
  return config;
}

std::int64_t AdapterConfig::rank_of(std::string_view module) const {
  for (const auto& [name, own] : rank_pattern)
    if (names_module(name, module)) return own;
  return rank;
}

double AdapterConfig::scale_of(std::string_view module) const {
  double own = alpha;
  for (const auto& [name, value] : alpha_pattern)
    if (names_module(name, module)) {
      own = value;
      break;
    }
  const auto r = static_cast<double>(rank_of(module));
  return own / (rank_stabilised ? std::sqrt(r) : r);
}

}  // namespace llm_tp

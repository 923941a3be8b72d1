#include "engine/generation_defaults.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/json_file.h"

namespace llm_tp {
namespace {

using nlohmann::json;

/// An absent file is an empty object.
json object_if_there(const std::string& path) {
  return std::filesystem::exists(path) ? read_json_object(path) : json::object();
}

[[noreturn]] void refuse(const std::string& where, const char* key, const json& found,
                         const std::string& wanted) {
  throw Error(ExitCode::kBadData, where + ": " + key + " is " + found.dump() + ", wanted " + wanted);
}

/// A file's keys, checked as they are read. A key that is null is absent.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  template <class T>  // double or std::int64_t
  std::optional<T> number(const char* key, T low, T high) const {
    const json* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (!(std::is_integral_v<T> ? found->is_number_integer() : found->is_number()) || *found < low ||
        *found > high)
      refuse(where_, key, *found, "a number from " + json(low).dump() + " to " + json(high).dump());
    return found->get<T>();
  }

  std::optional<bool> boolean(const char* key) const {
    const json* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (!found->is_boolean()) refuse(where_, key, *found, "true or false");
    return found->get<bool>();
  }

  std::vector<TokenId> ids(const char* key) const {
    const json* const found = find(key);
    if (found == nullptr) return {};
    return found->is_array() ? list(key, *found) : list(key, json::array({*found}));
  }

  std::vector<std::vector<TokenId>> lists_of_ids(const char* key) const {
    std::vector<std::vector<TokenId>> lists;
    const json* const found = find(key);
    if (found == nullptr) return lists;
    if (!found->is_array()) refuse(where_, key, *found, "lists of token ids");
    for (const json& entry : *found) {
      if (!entry.is_array() || entry.empty()) refuse(where_, key, *found, "lists of token ids");
      lists.push_back(list(key, entry));
    }
    return lists;
  }

 private:
  std::vector<TokenId> list(const char* key, const json& entries) const {
    std::vector<TokenId> ids;
    for (const json& id : entries) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<TokenId>::max())
        refuse(where_, key, entries, "token ids");
      ids.push_back(id.get<TokenId>());
    }
    return ids;
  }

  const json& object_;
  std::string where_;
};

/// Keys that change what Hugging Face's generate() returns and that a user asks this engine for by flag.
constexpr std::array kLeftAside{
    "num_beams",      "num_beam_groups",     "diversity_penalty", "penalty_alpha",
    "length_penalty", "forced_bos_token_id", "guidance_scale",    "forced_eos_token_id",
    "min_length",     "min_new_tokens",      "sequence_bias",     "exponential_decay_length_penalty",
};

/// Whether a value says "off" for every one of kLeftAside.
bool is_neutral(const json& value) {
  if (value.is_number()) return value == 0 || value == 1;
  return value.is_boolean() ? !value.get<bool>() : value.empty();
}

std::string text_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

std::string text_of(const std::vector<TokenId>& ids) {
  std::string text;
  for (TokenId id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

}  // namespace

GenerationDefaults GenerationDefaults::read(const std::string& folder) {
  const std::string where = (std::filesystem::path(folder) / "generation_config.json").string();
  const json object = object_if_there(where);
  const Reader reader(object, where);
  constexpr std::int64_t kMany = std::numeric_limits<std::int32_t>::max();
  GenerationDefaults d;
  d.do_sample = reader.boolean("do_sample");
  d.temperature = reader.number<double>("temperature", 0, 100);
  d.top_k = reader.number<std::int64_t>("top_k", 0, kMany);
  d.top_p = reader.number<double>("top_p", 0, 1);
  d.min_p = reader.number<double>("min_p", 0, 1);
  d.typical_p = reader.number<double>("typical_p", 0, 1);
  d.epsilon_cutoff = reader.number<double>("epsilon_cutoff", 0, 0.999999);
  d.eta_cutoff = reader.number<double>("eta_cutoff", 0, 0.999999);
  d.repetition_penalty = reader.number<double>("repetition_penalty", 1e-6, 1000);
  d.no_repeat_ngram_size = reader.number<std::int64_t>("no_repeat_ngram_size", 0, kMany);
  d.max_new_tokens = reader.number<std::int64_t>("max_new_tokens", 0, kMany);
  d.suppress_tokens = reader.ids("suppress_tokens");
  d.begin_suppress_tokens = reader.ids("begin_suppress_tokens");
  d.bad_words_ids = reader.lists_of_ids("bad_words_ids");
  d.eos_token_ids = reader.ids("eos_token_id");
  for (const char* key : kLeftAside)
    if (const json* const found = reader.find(key); found != nullptr && !is_neutral(*found))
      d.left_aside.emplace_back(key);
  return d;
}

std::vector<TokenId> token_ids_of(const std::string& file, const char* key) {
  const json object = object_if_there(file);
  return Reader(object, file).ids(key);
}

GenerationConfig with_defaults(GenerationConfig settings, const GenerationDefaults& defaults,
                               std::string& used) {
  const auto note = [&](const char* name, const std::string& value) {
    used += std::string(used.empty() ? "" : ", ") + name + " " + value;
  };
  const auto take = [&](const char* name, auto& setting, const auto& value, double neutral) {
    if (setting || !value || static_cast<double>(*value) == neutral) return;
    setting = *value;
    note(name, text_of(static_cast<double>(*value)));
  };
  const auto take_ids = [&](const char* name, std::vector<TokenId>& setting,
                            const std::vector<TokenId>& value) {
    if (!setting.empty() || value.empty()) return;
    setting = value;
    note(name, text_of(value));
  };
  const bool searches = settings.num_beams.value_or(1) > 1 || settings.penalty_alpha.value_or(0) > 0;
  if (!searches && !settings.temperature && defaults.do_sample.value_or(false)) {
    settings.temperature = defaults.temperature.value_or(1);
    note("temperature", text_of(*settings.temperature));
  }
  if (!searches && settings.temperature.value_or(0) > 0) {
    take("top_k", settings.top_k, defaults.top_k, 0);
    take("top_p", settings.top_p, defaults.top_p, 1);
    take("min_p", settings.min_p, defaults.min_p, 0);
    take("typical_p", settings.typical_p, defaults.typical_p, 1);
    take("epsilon_cutoff", settings.epsilon_cutoff, defaults.epsilon_cutoff, 0);
    take("eta_cutoff", settings.eta_cutoff, defaults.eta_cutoff, 0);
  }
  take("repetition_penalty", settings.repetition_penalty, defaults.repetition_penalty, 1);
  take("no_repeat_ngram_size", settings.no_repeat_ngram_size, defaults.no_repeat_ngram_size, 0);
  take("max_tokens", settings.max_tokens, defaults.max_new_tokens, -1);
  take_ids("suppress_tokens", settings.suppress_tokens, defaults.suppress_tokens);
  take_ids("begin_suppress_tokens", settings.begin_suppress_tokens, defaults.begin_suppress_tokens);
  if (!settings.bad_words_ids && !defaults.bad_words_ids.empty()) {
    std::string words;
    for (const auto& word : defaults.bad_words_ids) words += (words.empty() ? "" : ";") + text_of(word);
    note("bad_words_ids", words);
    settings.bad_words_ids = std::move(words);
  }
  for (const std::string& key : defaults.left_aside) note(key.c_str(), "left aside: ask for it by its flag");
  return settings;
}

SamplingSettings sampling_of(const GenerationConfig& settings) {
  SamplingSettings sampling;
  sampling.temperature = static_cast<float>(settings.temperature.value_or(0));
  sampling.top_k = static_cast<std::int32_t>(settings.top_k.value_or(0));
  sampling.top_p = static_cast<float>(settings.top_p.value_or(1));
  sampling.min_p = static_cast<float>(settings.min_p.value_or(0));
  sampling.typical_p = static_cast<float>(settings.typical_p.value_or(1));
  sampling.epsilon_cutoff = static_cast<float>(settings.epsilon_cutoff.value_or(0));
  sampling.eta_cutoff = static_cast<float>(settings.eta_cutoff.value_or(0));
  sampling.renormalise = settings.renormalize_logits ? 1 : 0;
  return sampling;
}

}  // namespace llm_tp

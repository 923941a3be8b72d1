#include <algorithm>
#include <charconv>

#include "text/json_document.h"
#include "text/tokenizer_files.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kLargestId = (1 << 24) - 1;

/// "</s>" or {"content": "</s>", …}.
std::optional<std::string> token_text(const JsonPlace& file, const char* key) {
  const JsonPlace place = file.at(key);
  if (place.is_null() || place.value().is_boolean()) return std::nullopt;
  if (place.value().is_object()) return place.string("content");
  return place.string();
}

void read_token_names(const JsonPlace& file, TokenizerSettings& settings) {
  if (!settings.bos) settings.bos = token_text(file, "bos_token");
  if (!settings.eos) settings.eos = token_text(file, "eos_token");
  if (!settings.unk) settings.unk = token_text(file, "unk_token");
}

/// "chat_template": a string, or a list of {"name", "template"} of which "default" counts.
std::optional<std::string> read_chat_template(const JsonPlace& place) {
  if (place.is_null()) return std::nullopt;
  if (!place.value().is_array()) return place.string();
  for (std::size_t i = 0; i < place.value().size(); ++i) {
    const JsonPlace entry = place.element(i);
    if (entry.string("name") == "default") return entry.string("template");
  }
  return std::nullopt;
}

void read_added_tokens_decoder(const JsonPlace& place, TokenizerSettings& settings) {
  if (place.is_null()) return;
  for (const auto& [key, value] : place.require_object().value().items()) {
    const JsonPlace entry = place.at(key);
    AddedToken token;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || token.id < 0 ||
        token.id > kLargestId) {
      entry.fail("has a key that is no token id from 0 to " + std::to_string(kLargestId));
    }
    token.text = entry.at("content").string();
    token.special = entry.boolean_or("special", false);
    token.strip_left = entry.boolean_or("lstrip", false);
    token.strip_right = entry.boolean_or("rstrip", false);
    token.single_word = entry.boolean_or("single_word", false);
    token.normalized = entry.boolean_or("normalized", false);
    settings.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

TokenizerSettings parse_tokenizer_settings(const TokenizerFiles& files) {
  TokenizerSettings settings;
  if (!files.tokenizer_config.empty()) {
    const nlohmann::json json = parse_json_document(files.tokenizer_config, "tokenizer_config.json");
    const JsonPlace config = JsonPlace(json, "tokenizer_config.json").require_object();
    read_token_names(config, settings);
    settings.add_bos = config.boolean("add_bos_token");
    settings.add_eos = config.boolean("add_eos_token");
    settings.add_prefix_space = config.boolean("add_prefix_space");
    settings.legacy = config.boolean("legacy");
    settings.chat_template = read_chat_template(config.at("chat_template"));
    read_added_tokens_decoder(config.at("added_tokens_decoder"), settings);
  }
  if (!files.special_tokens_map.empty()) {
    const nlohmann::json json = parse_json_document(files.special_tokens_map, "special_tokens_map.json");
    read_token_names(JsonPlace(json, "special_tokens_map.json").require_object(), settings);
  }
  if (!files.added_tokens.empty() && settings.added_tokens.empty()) {
    const nlohmann::json json = parse_json_document(files.added_tokens, "added_tokens.json");
    const JsonPlace file = JsonPlace(json, "added_tokens.json").require_object();
    for (const auto& [text, value] : json.items()) {
      AddedToken token;
      token.text = text;
      token.id = static_cast<TokenId>(file.at(text).integer(0, kLargestId));
      settings.added_tokens.push_back(std::move(token));
    }
  }
  if (!settings.chat_template && !files.chat_template.empty()) settings.chat_template = files.chat_template;
  std::sort(settings.added_tokens.begin(), settings.added_tokens.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return settings;
}

}  // namespace llm_tp

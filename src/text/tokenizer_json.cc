#include <algorithm>
#include <unordered_map>
#include <utility>

#include "text/json_document.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json_model.h"
#include "text/tokenizer_json_steps.h"

namespace llm_tp {
namespace {

using Ids = std::unordered_map<std::string, TokenId>;

std::vector<AddedToken> read_added_tokens(const JsonPlace& place, const Ids& vocabulary) {
  std::vector<AddedToken> tokens;
  if (place.is_null()) return tokens;
  const std::int64_t largest = largest_token_id(vocabulary.size() + place.require_array().value().size());
  std::unordered_map<TokenId, std::string> seen;
  Ids ids;
  for (std::size_t i = 0; i < place.value().size(); ++i) {
    const JsonPlace entry = place.element(i);
    AddedToken token;
    token.id = static_cast<TokenId>(entry.at("id").integer(0, largest));
    token.text = entry.at("content").string();
    token.special = entry.boolean_or("special", false);
    token.strip_left = entry.boolean_or("lstrip", false);
    token.strip_right = entry.boolean_or("rstrip", false);
    token.single_word = entry.boolean_or("single_word", false);
    token.normalized = entry.boolean_or("normalized", !token.special);
    const auto [first, first_use] = seen.emplace(token.id, token.text);
    if (!first_use && first->second != token.text) {
      entry.fail("gives the id " + std::to_string(token.id) +
                 " to a second token; an id stands for one token");
    }
    const auto in_model = vocabulary.find(token.text);
    const TokenId known =
        in_model != vocabulary.end() ? in_model->second : ids.emplace(token.text, token.id).first->second;
    if (known != token.id) {
      entry.fail("gives the id " + std::to_string(token.id) + " to a token that has the id " +
                 std::to_string(known));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// Of the model's tokens and the added ones.
Vocabulary make_vocabulary(const JsonVocabulary& model, const std::vector<AddedToken>& added,
                           const Decoding& decoding) {
  Vocabulary vocabulary;
  vocabulary.leading_spaces = decoding.leading_spaces;
  for (const std::string& text : model.texts)
    vocabulary.tokens.push_back({text, decoding.tokens.bytes_of(text), false});
  for (const AddedToken& token : added) {
    const auto at = static_cast<std::size_t>(token.id);
    if (vocabulary.tokens.size() <= at) vocabulary.tokens.resize(at + 1);
    vocabulary.tokens[at] = {token.text, decoding.tokens.bytes_of(token.text), token.special};
  }
  return vocabulary;
}

/// The ids that a TemplateProcessing puts around a single text.
void read_template(const JsonPlace& step, Vocabulary& vocabulary) {
  const JsonPlace single = step.at("single");
  std::vector<TokenId> before, after;
  bool after_text = false;
  for (std::size_t i = 0; i < single.require_array().value().size(); ++i) {
    const JsonPlace item = single.element(i);
    if (item.has("Sequence")) {
      if (after_text) item.fail("is a second Sequence; one was wanted");
      after_text = true;
      continue;
    }
    const JsonPlace ids = step.at("special_tokens").at(item.at("SpecialToken").at("id").string()).at("ids");
    const auto last = static_cast<std::int64_t>(vocabulary.tokens.size()) - 1;
    for (std::size_t k = 0; k < ids.require_array().value().size(); ++k) {
      (after_text ? after : before).push_back(static_cast<TokenId>(ids.element(k).integer(0, last)));
    }
  }
  if (!after_text) single.fail("has no Sequence, the place of the text");
  // A later step goes round what an earlier one has made.
  vocabulary.prefix.insert(vocabulary.prefix.begin(), before.begin(), before.end());
  vocabulary.suffix.insert(vocabulary.suffix.end(), after.begin(), after.end());
}

void read_post_processor(const JsonPlace& place, Vocabulary& vocabulary) {
  for_each_step(place, "processors", [&](const JsonPlace& step, const std::string& type) {
    if (type == "TemplateProcessing") return read_template(step, vocabulary);
    if (type == "ByteLevel") return;  // trims offsets, which are not kept
    step.at("type").fail("is " + type.substr(0, 50) +
                         ", known are ByteLevel, TemplateProcessing and Sequence");
  });
}

/// tokenizer_config.json has the last word on begin and end ids.
void apply_settings(const TokenizerSettings& settings, Vocabulary& vocabulary) {
  const auto id_of = [&](const std::optional<std::string>& text) -> std::optional<TokenId> {
    const auto& tokens = vocabulary.tokens;
    const auto found = std::find_if(tokens.begin(), tokens.end(),
                                    [&](const auto& token) { return text && token.text == *text; });
    if (found == tokens.end() || text->empty()) return std::nullopt;
    return static_cast<TokenId>(found - tokens.begin());
  };
  const auto settle = [](std::vector<TokenId>& side, std::optional<bool> wanted, std::optional<TokenId> id) {
    if (!wanted || !id) return;
    if (!*wanted) std::erase(side, *id);
    if (*wanted && std::find(side.begin(), side.end(), *id) == side.end()) side.push_back(*id);
  };
  vocabulary.begin = id_of(settings.bos);
  if (!vocabulary.begin && !vocabulary.prefix.empty()) vocabulary.begin = vocabulary.prefix.front();
  settle(vocabulary.prefix, settings.add_bos, vocabulary.begin);
  if (const auto end = id_of(settings.eos)) {
    vocabulary.ends.push_back(*end);
    settle(vocabulary.suffix, settings.add_eos, end);
  }
  vocabulary.chat_template = settings.chat_template;
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, const TokenizerSettings& settings) {
  const nlohmann::json document = parse_json_document(json, "tokenizer.json");
  const JsonPlace file(document, "tokenizer.json");
  const JsonPlace model = file.at("model");
  const JsonVocabulary vocabulary = read_model_vocabulary(model);
  PipelineDescription description;
  description.added_tokens = read_added_tokens(file.at("added_tokens"), vocabulary.ids);
  description.vocabulary =
      make_vocabulary(vocabulary, description.added_tokens, read_decoder(file.at("decoder")));
  std::vector<bool> special;
  for (const Vocabulary::Token& token : description.vocabulary.tokens) special.push_back(token.special);
  description.model = read_model(model, vocabulary, special);
  description.normalizer = read_normalizer(file.at("normalizer"));
  description.pre_tokenizer = read_pre_tokenizer(file.at("pre_tokenizer"));
  read_post_processor(file.at("post_processor"), description.vocabulary);
  apply_settings(settings, description.vocabulary);
  return std::make_unique<PipelineTokenizer>(std::move(description));
}

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view config_json) {
  TokenizerFiles files;
  files.tokenizer_config = config_json;
  return tokenizer_from_json(json, parse_tokenizer_settings(files));
}

}  // namespace llm_tp

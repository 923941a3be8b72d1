#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "text/bpe_tokenizer.h"
#include "text/byte_alphabet.h"
#include "text/json_document.h"
#include "text/tokenizer_files.h"

namespace llm_tp {
namespace {

using Ids = std::unordered_map<std::string, TokenId>;

/// The steps of a part of the file that is either one step or a Sequence of them under `list_key`.
template <typename Visit>
void for_each_step(const JsonPlace& place, const char* list_key, const Visit& visit) {
  if (place.is_null()) return;
  const std::string type = place.at("type").string();
  if (type != "Sequence") {
    visit(place, type);
    return;
  }
  const JsonPlace list = place.at(list_key);
  list.require_array();
  for (std::size_t i = 0; i < list.value().size(); ++i) for_each_step(list.element(i), list_key, visit);
}

void read_normalisers(const JsonPlace& place, BpeDescription& description) {
  for_each_step(place, "normalizers", [&](const JsonPlace& step, const std::string& type) {
    if (type == "NFC") return description.normalisers.push_back(UnicodeForm::kNfc);
    if (type == "NFD") return description.normalisers.push_back(UnicodeForm::kNfd);
    if (type == "NFKC") return description.normalisers.push_back(UnicodeForm::kNfkc);
    if (type == "NFKD") return description.normalisers.push_back(UnicodeForm::kNfkd);
    step.at("type").fail("is " + type.substr(0, 50) + ", known are NFC, NFD, NFKC, NFKD and Sequence");
  });
}

SplitBehavior read_behavior(const JsonPlace& place) {
  const std::string name = place.is_null() ? "Isolated" : place.string();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  place.fail("is " + name.substr(0, 50) +
             ", known are Isolated, Removed, MergedWithPrevious, MergedWithNext and Contiguous");
}

RegexSplitter read_split(const JsonPlace& step) {
  const JsonPlace pattern = step.at("pattern");
  RegexSplitter::Options options;
  options.behavior = read_behavior(step.at("behavior"));
  options.invert = step.boolean_or("invert", false);
  options.literal = !pattern.has("Regex");
  return RegexSplitter(pattern.at(options.literal ? "String" : "Regex").string(), options);
}

/// True where one of the steps is ByteLevel.
bool read_pre_tokenizers(const JsonPlace& place, BpeDescription& description) {
  bool byte_level = false;
  auto& steps = description.pre_tokenizers;
  for_each_step(place, "pretokenizers", [&](const JsonPlace& step, const std::string& type) {
    if (type == "Split") {
      steps.push_back(read_split(step));
    } else if (type == "ByteLevel") {
      byte_level = true;
      if (step.boolean_or("add_prefix_space", true)) steps.push_back(BpeDescription::PrefixSpace());
      if (step.boolean_or("use_regex", true)) steps.push_back(RegexSplitter(kGpt2Pattern));
    } else if (type == "Digits") {
      steps.push_back(RegexSplitter(step.boolean_or("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)"));
    } else if (type == "Punctuation") {
      steps.push_back(
          RegexSplitter(R"([\p{P}!-/:-@\[-`{-~])", {read_behavior(step.at("behavior")), false, false}));
    } else {
      step.at("type").fail("is " + type.substr(0, 50) +
                           ", known are Split, ByteLevel, Digits, Punctuation and Sequence");
    }
  });
  return byte_level;
}

void put_token(Vocabulary& vocabulary, TokenId id, Vocabulary::Token token) {
  const auto at = static_cast<std::size_t>(id);
  if (vocabulary.tokens.size() <= at) vocabulary.tokens.resize(at + 1);
  vocabulary.tokens[at] = std::move(token);
}

/// Ids may leave holes, but not so many that a few lines of JSON ask for gigabytes.
std::int64_t largest_id(std::size_t tokens) { return static_cast<std::int64_t>(2 * tokens + 65536); }

Ids read_vocabulary(const JsonPlace& place, BpeDescription& description) {
  Ids ids;
  place.require_object();
  const std::int64_t largest = largest_id(place.value().size());
  for (const auto& [text, value] : place.value().items()) {
    const auto id = static_cast<TokenId>(place.at(text.c_str()).integer(0, largest));
    if (static_cast<std::size_t>(id) < description.vocabulary.tokens.size() &&
        !description.vocabulary.tokens[static_cast<std::size_t>(id)].text.empty()) {
      place.fail("gives the id " + std::to_string(id) + " to two tokens; an id stands for one token");
    }
    put_token(description.vocabulary, id, {text, bytes_of_alphabet(text).value_or(text), false});
    ids.emplace(text, id);
  }
  return ids;
}

void read_merges(const JsonPlace& place, const Ids& ids, BpeDescription& description) {
  place.require_array();
  const auto id_of = [&](const JsonPlace& merge, const std::string& text) {
    const auto found = ids.find(text);
    if (found == ids.end())
      merge.fail("needs the token \"" + text.substr(0, 100) + "\", which model.vocab does not hold");
    return found->second;
  };
  for (std::size_t i = 0; i < place.value().size(); ++i) {
    const JsonPlace merge = place.element(i);
    std::string left, right;
    if (merge.value().is_array() && merge.value().size() == 2) {
      left = merge.element(0).string();
      right = merge.element(1).string();
    } else {
      const std::string pair = merge.string();
      const std::size_t space = pair.find(' ');
      if (space == std::string::npos)
        merge.fail("is \"" + pair.substr(0, 100) + "\", two tokens with a space between were wanted");
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    }
    description.merges.push_back({id_of(merge, left), id_of(merge, right), id_of(merge, left + right)});
  }
}

void read_added_tokens(const JsonPlace& place, Ids& ids, BpeDescription& description) {
  if (place.is_null()) return;
  place.require_array();
  const std::int64_t largest = largest_id(ids.size() + place.value().size());
  std::unordered_map<TokenId, std::string> seen;
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
    const auto [known, fresh] = ids.emplace(token.text, token.id);
    if (!fresh && known->second != token.id) {
      entry.fail("gives the id " + std::to_string(token.id) + " to a token that has the id " +
                 std::to_string(known->second));
    }
    put_token(description.vocabulary, token.id, {token.text, token.text, token.special});
    description.added_tokens.push_back(std::move(token));
  }
}

/// TemplateProcessing's ids around a single text.
void read_post_processor(const JsonPlace& place, BpeDescription& description) {
  for_each_step(place, "processors", [&](const JsonPlace& step, const std::string& type) {
    if (type == "ByteLevel") return;  // moves offsets alone
    if (type != "TemplateProcessing") {
      step.at("type").fail("is " + type.substr(0, 50) +
                           ", known are ByteLevel, TemplateProcessing and Sequence");
    }
    const JsonPlace single = step.at("single");
    single.require_array();
    bool after_text = false;
    for (std::size_t i = 0; i < single.value().size(); ++i) {
      const JsonPlace item = single.element(i);
      if (item.has("Sequence")) {
        after_text = true;
        continue;
      }
      const std::string name = item.at("SpecialToken").at("id").string();
      const JsonPlace ids = step.at("special_tokens").at(name.c_str()).at("ids");
      ids.require_array();
      const auto last = static_cast<std::int64_t>(description.vocabulary.tokens.size()) - 1;
      for (std::size_t k = 0; k < ids.value().size(); ++k) {
        auto& side = after_text ? description.vocabulary.suffix : description.vocabulary.prefix;
        side.push_back(static_cast<TokenId>(ids.element(k).integer(0, last)));
      }
    }
  });
}

/// tokenizer_config.json has the last word on begin and end ids.
void apply_settings(const TokenizerSettings& settings, const Ids& ids, Vocabulary& vocabulary) {
  const auto id_of = [&](const std::optional<std::string>& text) -> std::optional<TokenId> {
    const auto found = text ? ids.find(*text) : ids.end();
    if (found == ids.end()) return std::nullopt;
    return found->second;
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
  const std::optional<std::string> type = model.require_object().string("type");
  if (type.value_or("BPE") != "BPE" || model.boolean_or("byte_fallback", false)) return nullptr;

  BpeDescription description;
  Ids ids = read_vocabulary(model.at("vocab"), description);
  read_merges(model.at("merges"), ids, description);
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(affix).value_or("").empty())
      model.at(affix).fail("is not supported; byte-level BPE has none");
  }
  description.ignore_merges = model.boolean_or("ignore_merges", false);
  if (const auto unknown = model.string("unk_token")) {
    const auto found = ids.find(*unknown);
    if (found != ids.end()) description.unknown = found->second;
  }
  read_added_tokens(file.at("added_tokens"), ids, description);
  read_normalisers(file.at("normalizer"), description);
  if (!read_pre_tokenizers(file.at("pre_tokenizer"), description)) return nullptr;
  read_post_processor(file.at("post_processor"), description);
  apply_settings(settings, ids, description.vocabulary);
  return std::make_unique<BpeTokenizer>(std::move(description));
}

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view config_json) {
  TokenizerFiles files;
  files.tokenizer_config = config_json;
  return tokenizer_from_json(json, parse_tokenizer_settings(files));
}

}  // namespace llm_tp

#include "text/tokenizer_json_model.h"

#include <cmath>
#include <utility>

#include "text/bpe_model.h"
#include "text/unigram_model.h"

namespace llm_tp {
namespace {

bool is_unigram(const JsonPlace& model) {
  // Files from before there were other models name none.
  const std::string type = model.require_object().string("type").value_or("BPE");
  if (type != "BPE" && type != "Unigram")
    model.at("type").fail("is " + type.substr(0, 50) + ", known are BPE and Unigram");
  return type == "Unigram";
}

/// {"text": id, …}
JsonVocabulary read_bpe_vocabulary(const JsonPlace& place) {
  JsonVocabulary out;
  const std::int64_t largest = largest_token_id(place.require_object().value().size());
  for (const auto& [text, value] : place.value().items()) {
    const auto id = static_cast<TokenId>(place.at(text).integer(0, largest));
    const auto at = static_cast<std::size_t>(id);
    if (out.texts.size() <= at) out.texts.resize(at + 1);
    if (!out.texts[at].empty())
      place.fail("gives the id " + std::to_string(id) + " to two tokens; an id stands for one token");
    out.texts[at] = text;
    out.ids.emplace(text, id);
  }
  return out;
}

/// [["text", score], …]
JsonVocabulary read_unigram_vocabulary(const JsonPlace& place) {
  JsonVocabulary out;
  for (std::size_t id = 0; id < place.require_array().value().size(); ++id) {
    out.texts.push_back(place.element(id).require_array(2).element(0).string());
    out.ids[out.texts.back()] = static_cast<TokenId>(id);
  }
  return out;
}

/// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_merge(const JsonPlace& merge) {
  if (merge.value().is_array()) {
    merge.require_array(2);
    return {merge.element(0).string(), merge.element(1).string()};
  }
  const std::string pair = merge.string();
  const std::size_t space = pair.find(' ');
  if (space == std::string::npos || pair.find(' ', space + 1) != std::string::npos)
    merge.fail("is \"" + pair.substr(0, 100) + "\", two tokens with a space between were wanted");
  return {pair.substr(0, space), pair.substr(space + 1)};
}

std::vector<BpeModel::Merge> read_merges(const JsonPlace& place, const JsonVocabulary& vocabulary) {
  std::vector<BpeModel::Merge> merges;
  for (std::size_t i = 0; i < place.require_array().value().size(); ++i) {
    const JsonPlace merge = place.element(i);
    // Old files keep the first line of merges.txt.
    if (merge.value().is_string() && merge.string().starts_with("#version")) continue;
    const auto id_of = [&](const std::string& text) {
      const auto found = vocabulary.ids.find(text);
      if (found == vocabulary.ids.end())
        merge.fail("needs the token \"" + text.substr(0, 100) + "\", which model.vocab does not hold");
      return found->second;
    };
    const auto [left, right] = read_merge(merge);
    merges.push_back(
        {id_of(left), id_of(right), id_of(left + right), static_cast<std::uint32_t>(merges.size())});
  }
  return merges;
}

std::unique_ptr<const SubwordModel> read_bpe(const JsonPlace& model, const JsonVocabulary& vocabulary,
                                             const std::vector<bool>& special) {
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(affix).value_or("").empty())
      model.at(affix).fail("is not supported; \"\" or null was wanted");
  }
  if (const JsonPlace dropout = model.at("dropout"); !dropout.is_null() && dropout.value() != 0)
    dropout.fail("is not supported: it makes tokens random; null was wanted");
  BpeModel::Rules rules;
  rules.merges = read_merges(model.at("merges"), vocabulary);
  rules.byte_fallback = model.boolean_or("byte_fallback", false);
  rules.fuse_unknown = model.boolean_or("fuse_unk", false);
  rules.ignore_merges = model.boolean_or("ignore_merges", false);
  if (const auto unknown = model.string("unk_token")) {
    const auto found = vocabulary.ids.find(*unknown);
    if (found != vocabulary.ids.end())
      rules.unknown = found->second;
    else
      rules.missing_unknown = *unknown;
  }
  BpeModel::Tokens tokens;
  for (const auto& [text, id] : vocabulary.ids) {
    if (!special[static_cast<std::size_t>(id)]) tokens.emplace(text, id);
  }
  return std::make_unique<BpeModel>(tokens, std::move(rules));
}

std::unique_ptr<const SubwordModel> read_unigram(const JsonPlace& model, const JsonVocabulary& vocabulary,
                                                 const std::vector<bool>& special) {
  const JsonPlace list = model.at("vocab"), unknown = model.at("unk_id");
  std::vector<UnigramModel::Entry> entries;
  for (std::size_t id = 0; id < vocabulary.texts.size(); ++id) {
    const JsonPlace score = list.element(id).element(1);
    if (!score.value().is_number() || !std::isfinite(score.value().get<double>())) score.fail("is no number");
    entries.push_back({special[id] ? "" : vocabulary.texts[id], score.value().get<double>()});
  }
  std::optional<TokenId> unknown_id;
  if (!unknown.is_null())
    unknown_id = static_cast<TokenId>(unknown.integer(0, static_cast<std::int64_t>(entries.size()) - 1));
  return std::make_unique<UnigramModel>(entries, unknown_id, model.boolean_or("byte_fallback", false));
}

}  // namespace

std::int64_t largest_token_id(std::size_t tokens) { return static_cast<std::int64_t>(2 * tokens + 65536); }

JsonVocabulary read_model_vocabulary(const JsonPlace& model) {
  return is_unigram(model) ? read_unigram_vocabulary(model.at("vocab"))
                           : read_bpe_vocabulary(model.at("vocab"));
}

std::unique_ptr<const SubwordModel> read_model(const JsonPlace& model, const JsonVocabulary& vocabulary,
                                               const std::vector<bool>& special) {
  return is_unigram(model) ? read_unigram(model, vocabulary, special) : read_bpe(model, vocabulary, special);
}

}  // namespace llm_tp

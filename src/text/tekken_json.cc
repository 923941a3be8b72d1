#include <algorithm>
#include <unordered_map>
#include <utility>

#include "text/base64.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/json_document.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer_files.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kMostTokens = 1 << 24;
/// The control tokens of files from before tekken.json named them.
constexpr const char* kFirstControlTokens[] = {"<unk>",
                                               "<s>",
                                               "</s>",
                                               "[INST]",
                                               "[/INST]",
                                               "[AVAILABLE_TOOLS]",
                                               "[/AVAILABLE_TOOLS]",
                                               "[TOOL_RESULTS]",
                                               "[/TOOL_RESULTS]",
                                               "[TOOL_CALLS]",
                                               "[IMG]",
                                               "<pad>",
                                               "[IMG_BREAK]",
                                               "[IMG_END]",
                                               "[PREFIX]",
                                               "[MIDDLE]",
                                               "[SUFFIX]",
                                               "[SYSTEM_PROMPT]",
                                               "[/SYSTEM_PROMPT]",
                                               "[TOOL_CONTENT]"};

/// By id; those without a name are "<SPECIAL_20>".
std::vector<std::string> read_control_tokens(const JsonPlace& list, std::size_t count) {
  std::vector<std::string> names;
  if (list.is_null()) {
    names.assign(std::begin(kFirstControlTokens), std::end(kFirstControlTokens));
    names.resize(std::min(names.size(), count));
  } else {
    for (std::size_t i = 0; i < list.require_array().value().size(); ++i) {
      const auto id = static_cast<std::int64_t>(i);
      if (i >= count) list.fail("has more elements than config.default_num_special_tokens says");
      list.element(i).at("rank").integer(id, id);
      names.push_back(list.element(i).at("token_str").string());
    }
  }
  while (names.size() < count) names.push_back("<SPECIAL_" + std::to_string(names.size()) + ">");
  return names;
}

/// The bytes of tokens by rank.
std::vector<std::string> read_tokens(const JsonPlace& list, std::size_t count) {
  if (list.require_array().value().size() < count) {
    list.fail("has " + std::to_string(list.value().size()) + " tokens, config asks for " +
              std::to_string(count));
  }
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    const JsonPlace entry = list.element(i);
    const auto rank = static_cast<std::int64_t>(i);
    entry.at("rank").integer(rank, rank);
    const auto bytes = bytes_of_base64(entry.at("token_bytes").string());
    if (!bytes || bytes->empty()) entry.at("token_bytes").fail("is no base64 of a token");
    tokens.push_back(*bytes);
  }
  return tokens;
}

/// Any two tokens that make a third are joined, at its rank.
std::unique_ptr<BpeModel> make_model(const std::vector<std::string>& tokens, TokenId first_id) {
  std::unordered_map<std::string_view, TokenId> ids;
  BpeModel::Tokens texts;
  const auto id_of_rank = [&](std::size_t rank) { return first_id + static_cast<TokenId>(rank); };
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
    ids.emplace(tokens[rank], id_of_rank(rank));
    texts.emplace(alphabet_of_bytes(tokens[rank]), id_of_rank(rank));
  }
  BpeModel::Rules rules;
  rules.ignore_merges = true;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string_view token = tokens[rank];
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      rules.merges.push_back(
          {left->second, right->second, id_of_rank(rank), static_cast<std::uint32_t>(rank)});
    }
  }
  return std::make_unique<BpeModel>(texts, std::move(rules));
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_tekken(std::string_view json, const TokenizerSettings& settings) {
  const nlohmann::json document = parse_json_document(json, "tekken.json");
  const JsonPlace file(document, "tekken.json");
  const JsonPlace config = file.at("config");
  const std::int64_t controls = config.at("default_num_special_tokens").integer(3, kMostTokens);
  const std::int64_t all = config.at("default_vocab_size").integer(controls, kMostTokens);
  const std::vector<std::string> tokens =
      read_tokens(file.at("vocab"), static_cast<std::size_t>(all - controls));
  PipelineDescription description;
  Vocabulary& vocabulary = description.vocabulary;
  for (std::string& name :
       read_control_tokens(file.at("special_tokens"), static_cast<std::size_t>(controls))) {
    AddedToken token;
    token.text = name;
    token.id = static_cast<TokenId>(vocabulary.tokens.size());
    description.added_tokens.push_back(token);
    vocabulary.tokens.push_back({name, name, true});
  }
  for (const std::string& token : tokens)
    vocabulary.tokens.push_back({alphabet_of_bytes(token), token, false});
  description.pre_tokenizer.add(RegexSplitter(config.at("pattern").string()));
  description.pre_tokenizer.add(PreTokenizer::ByteAlphabet());
  description.model = make_model(tokens, static_cast<TokenId>(controls));
  const auto id_of = [&](const char* name) {
    const auto found = std::find_if(vocabulary.tokens.begin(), vocabulary.tokens.begin() + controls,
                                    [&](const auto& token) { return token.text == name; });
    if (found == vocabulary.tokens.begin() + controls)
      file.at("special_tokens").fail(std::string("has no ") + name);
    return static_cast<TokenId>(found - vocabulary.tokens.begin());
  };
  vocabulary.begin = id_of("<s>");
  vocabulary.ends.push_back(id_of("</s>"));
  if (settings.add_bos.value_or(true)) vocabulary.prefix.push_back(*vocabulary.begin);
  if (settings.add_eos.value_or(false)) vocabulary.suffix.push_back(vocabulary.ends.front());
  vocabulary.chat_template = settings.chat_template;
  return std::make_unique<PipelineTokenizer>(std::move(description));
}

}  // namespace llm_tp

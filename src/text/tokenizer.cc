#include "text/tokenizer.h"

#include <filesystem>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/named_pre_tokenizers.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer_files.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestBytes = std::size_t{256} << 20;

/// Nothing where the file does not exist.
std::optional<std::string> file_text(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const MappedFile file(path);
  if (file.bytes().size() > kLargestBytes) {
    throw Error(ExitCode::kBadData,
                path.string() + " has " + std::to_string(file.bytes().size()) +
                    " bytes, at most 256 MiB are read of a tokenizer's file; is it the right file?");
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

void require_id(std::optional<TokenId> id, std::size_t tokens, const char* key) {
  if (id && (*id < 0 || static_cast<std::size_t>(*id) >= tokens)) {
    throw Error(ExitCode::kBadData, std::string("tokenizer.ggml.") + key + " is " + std::to_string(*id) +
                                        ", ids go from 0 to " +
                                        std::to_string(static_cast<std::int64_t>(tokens) - 1));
  }
}

void require_count(std::size_t found, std::size_t tokens, const char* key) {
  if (found != 0 && found != tokens) {
    throw Error(ExitCode::kBadData, std::string("tokenizer.ggml.") + key + " has " + std::to_string(found) +
                                        " entries, tokenizer.ggml.tokens has " + std::to_string(tokens) +
                                        "; convert the model again");
  }
}

/// Converters often write chat markers as user-defined tokens. They steer the model like control tokens, so
/// that a text that must stay plain must not hold them either.
void mark_control_tokens(GgufVocabulary& vocabulary) {
  for (std::size_t id = 0; id < vocabulary.types.size(); ++id) {
    const std::string& text = vocabulary.tokens[id];
    const auto is = [id](std::optional<TokenId> other) {
      return other && static_cast<std::size_t>(*other) == id;
    };
    const bool marker = text.size() > 4 && text.starts_with("<|") && text.ends_with("|>");
    if (vocabulary.types[id] == 4 &&
        (marker || is(vocabulary.bos) || is(vocabulary.eos) || is(vocabulary.eot))) {
      vocabulary.types[id] = 3;
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer> bpe_from_gguf(GgufVocabulary source) {
  const NamedPreTokenizer named = named_pre_tokenizer(source.pre.empty() ? "default" : source.pre);
  PipelineDescription description;
  if (named.nfc) description.normalizer.add(UnicodeForm::kNfc);
  for (const std::string& pattern : named.patterns) description.pre_tokenizer.add(RegexSplitter(pattern));
  description.pre_tokenizer.add(PreTokenizer::ByteAlphabet());

  Vocabulary& vocabulary = description.vocabulary;
  BpeModel::Tokens plain;
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(source.tokens.size());
  for (std::size_t id = 0; id < source.tokens.size(); ++id) {
    const std::string& text = source.tokens[id];
    const int type = source.types.empty() ? 1 : source.types[id];
    const bool control = type == 2 || type == 3, added = control || type == 4;
    // Added tokens stand for their own text, the others are written in the byte alphabet.
    vocabulary.tokens.push_back({text, added ? text : bytes_of_alphabet(text).value_or(text), control});
    ids.emplace(text, static_cast<TokenId>(id));
    if (!control) plain.emplace(text, static_cast<TokenId>(id));
    if (!added) continue;
    AddedToken token;
    token.text = text;
    token.id = static_cast<TokenId>(id);
    token.special = control;
    description.added_tokens.push_back(std::move(token));
  }
  BpeModel::Rules rules;
  rules.ignore_merges = named.ignore_merges;
  for (std::size_t i = 0; i < source.merges.size(); ++i) {
    const std::string_view merge = source.merges[i];
    // A token may itself start with a space in old files; the parting space is never the first byte.
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos) {
      throw Error(ExitCode::kBadData, "tokenizer.ggml.merges[" + std::to_string(i) + "] is \"" +
                                          source.merges[i].substr(0, 100) +
                                          "\", two tokens with a space between were wanted");
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const auto found_left = ids.find(left), found_right = ids.find(right);
    const auto found = ids.find(std::string(left) + std::string(right));
    // A merge whose tokens the file left out can never happen.
    if (found_left == ids.end() || found_right == ids.end() || found == ids.end()) continue;
    rules.merges.push_back(
        {found_left->second, found_right->second, found->second, static_cast<std::uint32_t>(i)});
  }
  description.model = std::make_unique<BpeModel>(plain, std::move(rules));
  vocabulary.begin = source.bos;
  if (source.eos) vocabulary.ends.push_back(*source.eos);
  if (source.eot && source.eot != source.eos) vocabulary.ends.push_back(*source.eot);
  if (source.add_bos.value_or(false) && source.bos) vocabulary.prefix.push_back(*source.bos);
  if (source.add_eos.value_or(false) && source.eos) vocabulary.suffix.push_back(*source.eos);
  vocabulary.chat_template = std::move(source.chat_template);
  return std::make_unique<PipelineTokenizer>(std::move(description));
}

std::unique_ptr<Tokenizer> make_tokenizer(GgufVocabulary vocabulary) {
  const std::size_t tokens = vocabulary.tokens.size();
  if (tokens == 0)
    throw Error(ExitCode::kBadData, "tokenizer.ggml.tokens is empty; the file holds no vocabulary");
  require_count(vocabulary.scores.size(), tokens, "scores");
  require_count(vocabulary.types.size(), tokens, "token_type");
  require_id(vocabulary.bos, tokens, "bos_token_id");
  require_id(vocabulary.eos, tokens, "eos_token_id");
  require_id(vocabulary.eot, tokens, "eot_token_id");
  require_id(vocabulary.unk, tokens, "unknown_token_id");
  mark_control_tokens(vocabulary);
  if (vocabulary.model == "llama") return sentencepiece_from_gguf(std::move(vocabulary));
  if (vocabulary.model == "gpt2") return bpe_from_gguf(std::move(vocabulary));
  throw Error(ExitCode::kBadData, "tokenizer.ggml.model is \"" + vocabulary.model.substr(0, 100) +
                                      "\", known are llama (sentencepiece) and gpt2 (byte-level BPE)");
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const fs::path root(folder);
  const auto json = file_text(root / "tokenizer.json");
  const auto model = file_text(root / "tokenizer.model");
  const auto tekken = file_text(root / "tekken.json");
  if (!json && !model && !tekken) return nullptr;
  TokenizerFiles files;
  files.tokenizer_config = file_text(root / "tokenizer_config.json").value_or("");
  files.special_tokens_map = file_text(root / "special_tokens_map.json").value_or("");
  files.added_tokens = file_text(root / "added_tokens.json").value_or("");
  files.chat_template = file_text(root / "chat_template.jinja").value_or("");
  try {
    const TokenizerSettings settings = parse_tokenizer_settings(files);
    if (json) return tokenizer_from_json(*json, settings);
    if (model) return tokenizer_from_sentencepiece(*model, settings);
    return tokenizer_from_tekken(*tekken, settings);
  } catch (const Error& error) {
    throw Error(error.code(), folder + ": " + error.what());
  }
}

}  // namespace llm_tp

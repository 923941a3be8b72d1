#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/special_token_splitter.h"
#include "text/tokenizer.h"

namespace llm_tp {

/// What the files beside a Hugging Face tokenizer say: tokenizer_config.json first, then
/// special_tokens_map.json.
struct TokenizerSettings {
  std::optional<std::string> bos, eos, unk;
  std::optional<bool> add_bos, add_eos, add_prefix_space, legacy;
  std::optional<std::string> chat_template;
  std::vector<AddedToken> added_tokens;  // of added_tokens_decoder and added_tokens.json, in order of id
};

/// The texts of those files; empty where a file does not exist.
struct TokenizerFiles {
  std::string tokenizer_config, special_tokens_map, added_tokens, chat_template;
};

/// Errors: kBadData with file and key.
TokenizerSettings parse_tokenizer_settings(const TokenizerFiles& files);

/// From the text of tokenizer.json. Errors: kBadData with the key of what is wrong or not supported.
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, const TokenizerSettings& settings);
/// The same with the text of tokenizer_config.json, which may be empty.
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view config_json);

/// From the text of tekken.json (Mistral's: bytes of tokens by rank, of which any two that make a third are
/// joined). Errors: kBadData with the key.
std::unique_ptr<Tokenizer> tokenizer_from_tekken(std::string_view json, const TokenizerSettings& settings);

/// A sentencepiece tokenizer from the bytes of tokenizer.model. Errors: kBadData.
std::unique_ptr<Tokenizer> tokenizer_from_sentencepiece(std::string_view model,
                                                        const TokenizerSettings& settings);
/// The two kinds of vocabulary that a GGUF file may hold. Errors: kBadData with the key.
std::unique_ptr<Tokenizer> sentencepiece_from_gguf(GgufVocabulary vocabulary);
std::unique_ptr<Tokenizer> bpe_from_gguf(GgufVocabulary vocabulary);

}  // namespace llm_tp

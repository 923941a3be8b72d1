#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Text to token ids and back. Immutable after construction; any thread may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int vocabulary_size() const = 0;
  /// add_special: the begin and end ids that the model's files ask for. Special (control, added) tokens that
  /// stand in the text become their ids where parse_special is true. Errors: kUsage for text that is not
  /// UTF-8.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special,
                                      bool parse_special = true) const = 0;
  /// The bytes of one token. They may be part of a UTF-8 sequence. Control tokens give their text where
  /// `special`, else "".
  virtual std::string piece(TokenId id, bool special = false) const = 0;
  /// The same where the token is the first one of a text that has a piece: without the space that the
  /// tokenizer itself put before the text.
  virtual std::string first_piece(TokenId id, bool special = false) const { return piece(id, special); }
  /// The text of a whole list of ids: first_piece, then pieces. Bytes that are no UTF-8 become U+FFFD.
  virtual std::string decode(const std::vector<TokenId>& ids, bool special = false) const = 0;
  virtual std::optional<TokenId> begin_id() const = 0;
  /// End-of-sequence and end-of-turn ids that the tokenizer's files name (tokenizer_config.json's eos_token,
  /// GGUF's eos and eot ids).
  virtual std::vector<TokenId> end_ids() const = 0;
  virtual std::optional<TokenId> id_of(std::string_view token) const = 0;  // exact token text
  /// The chat template's source, where the files have one.
  virtual std::optional<std::string> chat_template() const = 0;
};

/// What a GGUF file holds of a vocabulary (keys tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  // "llama" (sentencepiece) or "gpt2" (byte-level BPE)
  std::string pre;    // pre-tokenizer's name: "llama-bpe", "gpt-2", "qwen2", "smollm", "deepseek-coder"…
  std::vector<std::string> tokens;
  std::vector<float> scores;  // may be empty
  std::vector<std::int32_t>
      types;  // ggml's: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;
  std::optional<TokenId> bos, eos, eot, unk;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::optional<std::string> chat_template;
};

/// From a GGUF file's vocabulary. Errors: kBadData names the key.
std::unique_ptr<Tokenizer> make_tokenizer(GgufVocabulary vocabulary);
/// From a Hugging Face folder: tokenizer.json, tokenizer.model (sentencepiece) or tekken.json, the first that
/// is there, with tokenizer_config.json, special_tokens_map.json and generation files where they exist.
/// nullptr where the folder has no tokenizer files.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);

}  // namespace llm_tp

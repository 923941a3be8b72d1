#pragma once
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "text/bpe_merger.h"
#include "text/regex_splitter.h"
#include "text/special_token_splitter.h"
#include "text/unicode_forms.h"
#include "text/vocabulary_tokenizer.h"

namespace llm_tp {

/// A byte-level byte-pair tokenizer, as its file describes it.
struct BpeDescription {
  /// Puts a space before each piece that does not start with one (ByteLevel's add_prefix_space).
  struct PrefixSpace {};
  using PreTokenizer = std::variant<RegexSplitter, PrefixSpace>;

  Vocabulary vocabulary;
  std::vector<AddedToken> added_tokens;
  std::vector<UnicodeForm> normalisers;      // applied in order
  std::vector<PreTokenizer> pre_tokenizers;  // applied in order, each to every piece of the one before
  std::vector<BpeMerger::Merge> merges;
  std::optional<TokenId> unknown;  // stands for bytes that have no token
  bool ignore_merges = false;      // a piece that is a token as it is becomes that token
};

/// Byte-level byte-pair encoding (GPT-2 and its descendants): added tokens are cut out, the rest is
/// normalised, cut by regular expressions, and each piece's bytes are merged.
class BpeTokenizer final : public VocabularyTokenizer {
 public:
  explicit BpeTokenizer(BpeDescription description);

 private:
  void encode_text(std::string_view text, bool parse_special, std::vector<TokenId>& out) const override;
  void encode_plain(std::string_view text, std::vector<TokenId>& out) const;

  SpecialTokenSplitter raw_tokens_, normalised_tokens_;
  std::vector<UnicodeForm> normalisers_;
  std::vector<BpeDescription::PreTokenizer> pre_tokenizers_;
  BpeMerger merger_;
  std::unordered_map<std::string, TokenId> whole_pieces_;  // by bytes; empty unless ignore_merges
};

/// The regular expressions that a GGUF file's tokenizer.ggml.pre names, and what goes with them.
struct NamedPreTokenizer {
  std::vector<std::string> patterns;
  bool ignore_merges = false;
  bool nfc = false;
};
/// Errors: kBadData for a name that is not known.
NamedPreTokenizer named_pre_tokenizer(const std::string& name);
/// GPT-2's pattern, which "ByteLevel" stands for in tokenizer.json.
extern const char* const kGpt2Pattern;

}  // namespace llm_tp

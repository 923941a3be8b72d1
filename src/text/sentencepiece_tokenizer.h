#pragma once
#include <sentencepiece_processor.h>

#include <string>
#include <vector>

#include "text/special_token_splitter.h"
#include "text/vocabulary_tokenizer.h"

namespace llm_tp {

/// A sentencepiece tokenizer, as its file describes it.
struct SentencePieceDescription {
  enum class DummyPrefix { kNone, kTextStart, kTextStartAndAfterSpecial };
  std::string model;  // a ModelProto
  Vocabulary vocabulary;
  std::vector<AddedToken> added_tokens;
  DummyPrefix dummy_prefix = DummyPrefix::kNone;  // where a space is put before the text
  TokenId unknown = 0;                            // what ids of the model outside the vocabulary become
};

/// Sentencepiece (Kudo & Richardson 2018): added tokens are cut out, the library encodes what is between
/// them.
class SentencePieceTokenizer final : public VocabularyTokenizer {
 public:
  /// Errors: kBadData where the library refuses the model.
  explicit SentencePieceTokenizer(SentencePieceDescription description);

 private:
  void encode_text(std::string_view text, bool parse_special, std::vector<TokenId>& out) const override;

  sentencepiece::SentencePieceProcessor processor_;
  SpecialTokenSplitter splitter_;
  SentencePieceDescription::DummyPrefix dummy_prefix_;
  TokenId unknown_;
};

}  // namespace llm_tp

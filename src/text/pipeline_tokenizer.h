#pragma once
#include <memory>
#include <vector>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/special_token_splitter.h"
#include "text/subword_model.h"
#include "text/vocabulary_tokenizer.h"

namespace llm_tp {

/// A tokenizer made of Hugging Face's parts, as its file describes them.
struct PipelineDescription {
  Vocabulary vocabulary;
  std::vector<AddedToken> added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const SubwordModel> model;
};

/// Added tokens are cut out, the rest is normalised and cut into pieces, and a model encodes each piece.
class PipelineTokenizer final : public VocabularyTokenizer {
 public:
  explicit PipelineTokenizer(PipelineDescription description);

 private:
  void encode_text(std::string_view text, bool parse_special, std::vector<TokenId>& out) const override;

  SpecialTokenSplitter raw_tokens_, normalised_tokens_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const SubwordModel> model_;
};

}  // namespace llm_tp

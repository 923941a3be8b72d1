#include "text/pipeline_tokenizer.h"

#include <utility>

namespace llm_tp {
namespace {

/// Added tokens of one of the two passes; those looked for in normalised text are normalised themselves.
SpecialTokenSplitter make_splitter(const PipelineDescription& description, bool normalised) {
  std::vector<AddedToken> chosen;
  for (const AddedToken& token : description.added_tokens) {
    if (token.normalized != normalised) continue;
    chosen.push_back(token);
    if (normalised) chosen.back().text = description.normalizer.apply(token.text);
  }
  return SpecialTokenSplitter(std::move(chosen));
}

}  // namespace

PipelineTokenizer::PipelineTokenizer(PipelineDescription description)
    : VocabularyTokenizer(std::move(description.vocabulary)),
      raw_tokens_(make_splitter(description, false)),
      normalised_tokens_(make_splitter(description, true)),
      normalizer_(std::move(description.normalizer)),
      pre_tokenizer_(std::move(description.pre_tokenizer)),
      model_(std::move(description.model)) {}

void PipelineTokenizer::encode_text(std::string_view text, bool parse_special,
                                    std::vector<TokenId>& out) const {
  const auto take_token = [&](const AddedToken& token) { out.push_back(token.id); };
  const auto take_piece = [&](std::string_view piece) { model_->encode(piece, out); };
  const auto take_raw = [&](std::string_view raw) {
    const std::string normal = normalizer_.apply(std::string(raw));
    const auto take_text = [&](std::string_view plain) {
      const bool at_start = raw.data() == text.data() && plain.data() == normal.data();
      pre_tokenizer_.split(plain, at_start, take_piece);
    };
    normalised_tokens_.split(normal, parse_special, take_text, take_token);
  };
  raw_tokens_.split(text, parse_special, take_raw, take_token);
}

}  // namespace llm_tp

#include "text/token_decoder.h"

#include <utility>

#include "text/byte_alphabet.h"
#include "text/byte_tokens.h"

namespace llm_tp {
namespace {

struct Apply {
  std::string_view token;
  std::string operator()(const TextReplacement& step) const { return step.apply(token); }
  std::string operator()(TokenDecoder::ByteTokens) const {
    const auto byte = byte_of_token(token);
    return byte ? std::string(1, static_cast<char>(*byte)) : std::string(token);
  }
  std::string operator()(TokenDecoder::ByteAlphabet) const {
    return bytes_of_alphabet(token).value_or(std::string(token));
  }
};

}  // namespace

void TokenDecoder::add(Step step) { steps_.push_back(std::move(step)); }

std::string TokenDecoder::bytes_of(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) text = std::visit(Apply{text}, step);
  return text;
}

}  // namespace llm_tp

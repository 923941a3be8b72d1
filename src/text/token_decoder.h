#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/text_pattern.h"

namespace llm_tp {

/// What bytes a token's text stands for: the steps of a decoder that look at one token alone, in order.
class TokenDecoder {
 public:
  struct ByteTokens {};    // "<0x0A>" is the byte 10
  struct ByteAlphabet {};  // code points of byte_alphabet.h are bytes, unless one of the text is outside it
  using Step = std::variant<TextReplacement, ByteTokens, ByteAlphabet>;

  void add(Step step);
  std::string bytes_of(std::string_view token) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace llm_tp

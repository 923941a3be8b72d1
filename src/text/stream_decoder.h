#pragma once
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace llm_tp {

/// Turns a stream of ids into text pieces that are always whole UTF-8: bytes of an unfinished code point are
/// held back, bytes that can never become one turn into U+FFFD. The concatenation of all pieces equals
/// Tokenizer::decode of all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  /// Text that became whole with this id; may be empty.
  std::string push(TokenId id);
  /// What is still held back, at the end of the stream.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  std::string held_;
  bool first_ = true;
};

}  // namespace llm_tp

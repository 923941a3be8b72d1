#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace llm_tp {

/// Turns a stream of ids into text pieces that are always whole UTF-8: bytes of an unfinished code point are
/// held back, bytes that can never become one turn into U+FFFD. Where no control tokens are shown, the
/// concatenation of all pieces equals Tokenizer::decode of all ids.
class StreamDecoder {
 public:
  /// The control tokens `shown` have their text in the stream; others have none.
  explicit StreamDecoder(const Tokenizer& tokenizer, std::vector<TokenId> shown = {})
      : tokenizer_(&tokenizer), shown_(std::move(shown)) {}
  /// Text that became whole with this id; may be empty.
  std::string push(TokenId id);
  /// What is still held back, at the end of the stream.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  std::vector<TokenId> shown_;
  std::string held_;
  bool first_ = true;
};

}  // namespace llm_tp

#include "text/stream_decoder.h"

#include <utility>

#include "text/utf8.h"

namespace llm_tp {

std::string StreamDecoder::push(TokenId id) {
  const std::string bytes = tokenizer_->piece(id);
  if (bytes.empty()) return "";
  held_ += std::exchange(first_, false) ? tokenizer_->first_piece(id) : bytes;
  std::string out;
  take_whole_utf8(held_, out, false);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  take_whole_utf8(held_, out, true);
  first_ = true;
  return out;
}

}  // namespace llm_tp

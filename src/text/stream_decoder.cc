#include "text/stream_decoder.h"

#include "text/utf8.h"

namespace llm_tp {

std::string StreamDecoder::push(TokenId id) {
  std::string bytes = tokenizer_->piece(id);
  if (bytes.empty()) return "";
  if (first_) {
    first_ = false;
    // Only the tokenizer knows whether it takes a leading space away: ask it about this token alone.
    if (bytes.front() == ' ' && tokenizer_->decode({id}) != repaired_utf8(bytes)) bytes.erase(0, 1);
  }
  held_ += bytes;
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

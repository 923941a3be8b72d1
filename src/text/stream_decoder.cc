#include "text/stream_decoder.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace llm_tp {

std::string StreamDecoder::push(TokenId id) {
  const bool special = std::find(shown_.begin(), shown_.end(), id) != shown_.end();
  const std::string bytes = tokenizer_->piece(id, special);
  if (bytes.empty()) return "";
  held_ += std::exchange(first_, false) ? tokenizer_->first_piece(id, special) : bytes;
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

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "text/stream_decoder.h"
#include "text/tokenizer_files.h"
#include "text/utf8.h"

namespace {

/// Encodes, decodes, and checks that a stream of the ids gives the same text.
void use(const llm_tp::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text, true);
  for (const llm_tp::TokenId id : ids) {
    if (id < 0 || id >= tokenizer.vocabulary_size()) std::abort();
  }
  llm_tp::StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const llm_tp::TokenId id : ids) streamed += stream.push(id);
  if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
  tokenizer.decode(ids, true);
}

}  // namespace

/// Any bytes as tokenizer.json: a tokenizer or an Error, and a tokenizer must encode and decode. What stands
/// behind the first NUL, which no JSON has, is a text to encode.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  try {
    const auto tokenizer = llm_tp::tokenizer_from_json(input.substr(0, end), "");
    use(*tokenizer, "Hello, w\xC3\xB6rld! 123\n <s>");
    if (end != std::string_view::npos)
      use(*tokenizer, llm_tp::repaired_utf8(std::string(input.substr(end + 1))));
  } catch (const llm_tp::Error&) {
  }
  return 0;
}

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer_files.h"

/// Any bytes as tokenizer.json: a tokenizer, nullptr or an Error, and a tokenizer must encode and decode.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    if (const auto tokenizer = llm_tp::tokenizer_from_json(json, "")) {
      tokenizer->decode(tokenizer->encode("Hello, w\xC3\xB6rld! 123\n <s>", true), true);
    }
  } catch (const llm_tp::Error&) {
  }
  return 0;
}

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serve/api_error.h"
#include "serve/openai_request.h"

// Whatever a client sends is read or refused with a status of its own.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const auto endpoint : {llm_tp::Endpoint::kCompletions, llm_tp::Endpoint::kChatCompletions}) {
    try {
      llm_tp::parse_api_request(endpoint, body);
    } catch (const llm_tp::ApiError& error) {
      if (error.body().empty()) __builtin_trap();
    }
  }
  try {
    llm_tp::parse_tokenize_body(body);
    llm_tp::parse_detokenize_body(body);
  } catch (const llm_tp::ApiError&) {
  }
  return 0;
}

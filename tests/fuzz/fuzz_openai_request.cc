#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "serve/api_error.h"
#include "serve/openai_request.h"

namespace {

/// Any body is a request or a refusal in the client's words.
template <class Parse>
void parse_or_refuse(const Parse& parse) {
  try {
    parse();
  } catch (const llm_tp::ApiError& error) {
    if (error.status() != 400) std::abort();
  }
}

}  // namespace

/// The first byte chooses the endpoint, the rest is the body that a client sent.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      parse_or_refuse([&] { llm_tp::parse_api_request(llm_tp::Endpoint::kCompletions, body); });
      break;
    case 1:
      parse_or_refuse([&] { llm_tp::parse_api_request(llm_tp::Endpoint::kChatCompletions, body); });
      break;
    case 2:
      parse_or_refuse([&] { llm_tp::parse_api_request(llm_tp::Endpoint::kEmbeddings, body); });
      break;
    case 3:
      parse_or_refuse([&] { llm_tp::parse_tokenize_body(body); });
      break;
    default:
      parse_or_refuse([&] { llm_tp::parse_detokenize_body(body); });
  }
  return 0;
}

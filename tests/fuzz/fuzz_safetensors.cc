#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "weights/safetensors_header.h"

/// Any bytes are either a header or an Error kBadData; the index is the same bytes read as its JSON.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto file_bytes = static_cast<std::int64_t>(size);
    for (const auto& tensor : llm_tp::parse_safetensors_header(bytes, "fuzz"))
      if (tensor.begin < 8 || tensor.begin > tensor.end || tensor.end > file_bytes) __builtin_trap();
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  try {
    llm_tp::parse_safetensors_index(bytes, "fuzz");
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  return 0;
}

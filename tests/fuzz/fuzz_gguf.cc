#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "weights/gguf.h"

namespace {

/// Calls a getter that may refuse the value's type.
template <typename Get>
void probe(Get get) {
  try {
    get();
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
}

}  // namespace

/// Any bytes are either a file, all of whose values and tensors can be read, or an Error kBadData.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  probe([&] {
    const auto bytes = std::as_bytes(std::span(data, size));
    const llm_tp::GgufFile file = llm_tp::GgufFile::parse(bytes, "fuzz");
    for (const auto key : file.keys()) {
      probe([&] { file.integer(key); });
      probe([&] { file.real(key); });
      probe([&] { file.boolean(key); });
      probe([&] { file.string(key); });
      probe([&] { file.strings(key); });
      probe([&] { file.integers(key); });
      probe([&] { file.floats(key); });
    }
    for (const auto& tensor : file.tensors()) {
      unsigned sum = 0;
      if (!tensor.data.empty())
        sum = std::to_integer<unsigned>(tensor.data.front()) + std::to_integer<unsigned>(tensor.data.back());
      if (sum > 510 || file.tensor(tensor.name) == nullptr) __builtin_trap();
    }
  });
  return 0;
}

#include "kernels/cuda/upload_pipe.h"

#include <algorithm>
#include <cstring>

namespace llm_tp {

void UploadPipe::copy(std::byte* to_device, std::span<const std::byte> from) {
  while (!from.empty()) {
    const std::size_t bytes = std::min(from.size(), kBufferBytes);
    std::memcpy(next(bytes), from.data(), bytes);
    send(to_device, bytes);
    to_device += bytes;
    from = from.subspan(bytes);
  }
}

const std::byte* StepTable::hold_bytes(std::span<const std::byte> table) {
  if (!std::equal(table.begin(), table.end(), held_.begin(), held_.end())) {
    pipe_.copy(memory_.reserve(table.size()), table);
    held_.assign(table.begin(), table.end());
  }
  return memory_.data();
}

}  // namespace llm_tp

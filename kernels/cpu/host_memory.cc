#include "kernels/cpu/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace llm_tp {

DeviceBuffer allocate_host(std::size_t bytes) {
  constexpr std::size_t kMappedFrom = std::size_t{1} << 20, kHugePage = std::size_t{2} << 20;
  const auto fail = [bytes]() -> DeviceBuffer {
    throw Error(ExitCode::kOutOfMemory,
                "the system gave no " + std::to_string(bytes) +
                    " bytes of host memory; lower the KV cache's size or use more ranks");
  };
  if (bytes < kMappedFrom) {
    const std::size_t rounded = (bytes + 63) / 64 * 64 + (bytes == 0 ? 64 : 0);
    auto* data = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
    if (data == nullptr) return fail();
    std::memset(data, 0, rounded);
    return DeviceBuffer(data, bytes, [](std::byte* at) { std::free(at); });
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return fail();
  // Advice only: without huge pages the same memory is slower to walk.
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
  return DeviceBuffer(static_cast<std::byte*>(data), bytes, [bytes](std::byte* at) { munmap(at, bytes); });
}

}  // namespace llm_tp

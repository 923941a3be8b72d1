#include "kernels/cpu/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace llm_tp {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

[[noreturn]] void throw_no_memory(std::size_t bytes) {
  throw Error(ExitCode::kOutOfMemory,
              "the system gave no " + std::to_string(bytes) +
                  " bytes of host memory; lower the KV cache's size or use more ranks");
}

/// Untouched pages, huge ones where the system has them. That is advice only: without huge pages the same
/// memory is slower to walk.
std::byte* map_pages(std::size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw_no_memory(bytes);
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

}  // namespace

DeviceBuffer allocate_host(std::size_t bytes) {
  constexpr std::size_t kMappedFrom = std::size_t{1} << 20;
  if (bytes < kMappedFrom) {
    const std::size_t rounded = std::max<std::size_t>(64, rounded_up(bytes, 64));
    auto* data = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
    if (data == nullptr) throw_no_memory(bytes);
    std::memset(data, 0, rounded);
    return DeviceBuffer(data, bytes, [](std::byte* at) { std::free(at); });
  }
  return DeviceBuffer(map_pages(bytes), bytes, [bytes](std::byte* at) { munmap(at, bytes); });
}

/// A run of whole huge pages.
struct HostArena::Region {
  explicit Region(std::size_t bytes) : size(bytes), mapped(bytes + kHugePage), pages(map_pages(mapped)) {
    const auto address = reinterpret_cast<std::uintptr_t>(pages);
    begin = pages + (rounded_up(address, kHugePage) - address);
  }
  ~Region() { munmap(pages, mapped); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::size_t size;
  std::size_t mapped;
  std::byte* pages;
  std::byte* begin;
};

DeviceBuffer HostArena::allocate(std::size_t bytes) {
  constexpr std::size_t kSmall = std::size_t{64} << 10, kRegion = std::size_t{64} << 20;
  if (bytes < kSmall) return allocate_host(bytes);
  const std::size_t rounded = rounded_up(bytes, 64);
  if (!region_ || region_->size - used_ < rounded) {
    region_ = std::make_shared<Region>(rounded_up(std::max(rounded, kRegion), kHugePage));
    used_ = 0;
  }
  std::byte* data = region_->begin + used_;
  used_ += rounded;
  return DeviceBuffer(data, bytes, [region = region_](std::byte*) mutable { region.reset(); });
}

}  // namespace llm_tp

#pragma once
#include <cstdint>

namespace llm_tp {

/// Bytes of a device's own memory, and of the host's that is pinned for its copies. Both are 0 for a device
/// whose memory is the host's.
struct MemoryUse {
  std::int64_t device = 0, pinned = 0;
  MemoryUse& operator+=(const MemoryUse& other) noexcept {
    device += other.device;
    pinned += other.pinned;
    return *this;
  }
  friend MemoryUse operator+(MemoryUse a, const MemoryUse& b) noexcept { return a += b; }
  friend MemoryUse operator-(const MemoryUse& a, const MemoryUse& b) noexcept {
    return {a.device - b.device, a.pinned - b.pinned};
  }
  friend bool operator==(const MemoryUse&, const MemoryUse&) = default;
};

}  // namespace llm_tp

#pragma once
#include <driver_types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace llm_tp::emulator {

// What the halves of the emulated runtime share: fake_cudart.cc has devices and memory, fake_streams.cc
// streams, events, launches and graphs.

constexpr std::size_t kSharedBytesAtMost =
    std::size_t{99} << 10;  // of a block: opt-in limit of the smallest supported chips (sm_86, 89, 120)

/// Throws Violation.
[[noreturn]] void refuse(const std::string& what);

/// The number of the allocation, of the device or pinned, that holds this byte; 0: none. No two have the
/// same.
std::uint64_t allocation_of(const void* pointer);
bool is_allocated(std::uint64_t number);

/// Device memory may be touched while one of these lives.
struct DeviceTurn {
  DeviceTurn();
  ~DeviceTurn();
  DeviceTurn(const DeviceTurn&) = delete;
  DeviceTurn& operator=(const DeviceTurn&) = delete;
};

/// Runs all that is queued; an error under way ends it, as what waits for another process may wait for ever.
void drain(cudaStream_t stream);
/// A call that CUDA forbids while the thread captures a stream.
void refuse_while_capturing(const char* call);
/// What every call returns once a kernel has left its memory.
cudaError_t device_state();

}  // namespace llm_tp::emulator

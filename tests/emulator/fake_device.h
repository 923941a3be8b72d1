#pragma once
#include <driver_types.h>
#include <vector_types.h>

#include <cstddef>
#include <functional>
#include <set>
#include <string>

namespace llm_tp::emulator {

/// The device behind fake_cudart.cc: memory that AddressSanitizer refuses to host code, streams that do
/// nothing until something waits for them. One process, one device, one thread.

/// Fails unless the pointer is null or lies in device or pinned memory.
void check_device_pointer(const char* kernel, int argument, const void* pointer);
/// Fails unless [pointer, pointer + bytes) lies in one device allocation.
void require_device(const void* pointer, std::size_t bytes, const char* what);
/// Memory that is the device's from now on; until it is taken away, which returns its bytes.
void add_device_memory(std::byte* at, std::size_t bytes);
std::size_t remove_device_memory(const std::byte* at);
/// Checks the limits of a launch and queues it. Returns what cudaLaunchKernelEx would.
cudaError_t queue_launch(const char* name, const void* kernel, dim3 grid, dim3 block,
                         std::size_t shared_bytes, cudaStream_t stream, std::function<void()> body);
/// Queues other work, which may touch device memory.
void queue_work(cudaStream_t stream, std::function<void()> work);
/// Queues work that is called until it says that it is done: what waits for other processes.
void queue_waiting_work(cudaStream_t stream, std::function<bool()> work);

/// From its run number `run` on, counted from 1 and from now, a kernel of this name fails, as one does that
/// leaves its memory: nothing that is queued runs any more, and calls return cudaErrorIllegalAddress. Run 0:
/// its launch is refused at once, and nothing else is wrong. Empty: all is well again.
void break_kernel(const std::string& name, int run = 1);

/// Addresses of all kernels that ran in this process.
const std::set<const void*>& launched_kernels();
/// Device bytes in use.
std::size_t device_bytes();

}  // namespace llm_tp::emulator

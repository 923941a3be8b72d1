#pragma once
#include <driver_types.h>
#include <vector_types.h>

#include <cstddef>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace llm_tp::emulator {

/// The device behind fake_cudart.cc and fake_streams.cc: memory that AddressSanitizer refuses to host code,
/// streams that do nothing until something waits for them, and graphs, which hold what was queued while a
/// stream was captured, with the values of then. One process, one device, one thread.

/// Fails unless the pointer is null or lies in device or pinned memory.
void check_device_pointer(const char* kernel, int argument, const void* pointer);
/// Fails unless [pointer, pointer + bytes) lies in one device allocation.
void require_device(const void* pointer, std::size_t bytes, const char* what);
/// Memory that is the device's from now on; until it is taken away, which returns its bytes.
void add_device_memory(std::byte* at, std::size_t bytes);
std::size_t remove_device_memory(const std::byte* at);
/// Checks the limits of a launch and queues it. arguments: their bytes; where a graph holds the launch, what
/// they point to must still be allocated when the graph is launched. Returns what cudaLaunchKernelEx would.
cudaError_t queue_launch(const char* name, const void* kernel, dim3 grid, dim3 block,
                         std::size_t shared_bytes, cudaStream_t stream, std::span<const std::byte> arguments,
                         std::function<void()> body);
/// Other work, which may touch device memory; false: it is to be called again, as it waits for other
/// processes.
using Work = std::function<bool()>;
/// Queues what `make` returns: once here, or, where the stream is captured, at every launch of the graph.
/// pointers: the memory that it works on.
void queue_work(cudaStream_t stream, const std::string& what, std::vector<const void*> pointers,
                std::function<Work()> make);

/// From its run number `run` on, counted from 1 and from now, a kernel of this name fails, as one does that
/// leaves its memory: nothing that is queued runs any more, and calls return cudaErrorIllegalAddress. Run 0:
/// its launch is refused at once, and nothing else is wrong. Empty: all is well again.
void break_kernel(const std::string& name, int run = 1);

/// Addresses of all kernels that ran in this process.
const std::set<const void*>& launched_kernels();
/// Device bytes in use.
std::size_t device_bytes();

}  // namespace llm_tp::emulator

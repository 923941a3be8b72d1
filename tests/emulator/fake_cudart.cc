// The calls of libcudart that kernels/cuda makes, for a machine without a GPU: devices and memory. Misuse
// ends in emulator::Violation. Hosts that lack something are made by the environment:
//   EMULATED_GPUS=N        how many there are; 8
//   EMULATED_DRIVER=12040  the newest CUDA that the driver runs; 0: no driver; the toolkit's
//   EMULATED_GPU_MIB=N     memory of each; 4096
//   EMULATED_LOST_MIB=N    of it, seems free and is not: other processes, fragments; 0
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "emulator/block_runner.h"
#include "emulator/fake_device.h"
#include "emulator/fake_memory.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace {

using namespace llm_tp::emulator;

int from_environment(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}
std::size_t mib_from_environment(const char* name, int otherwise) {
  return static_cast<std::size_t>(from_environment(name, otherwise)) << 20;
}
int gpu_count() { return from_environment("EMULATED_GPUS", 8); }
int driver_version() { return from_environment("EMULATED_DRIVER", CUDART_VERSION); }
std::size_t gpu_bytes() { return mib_from_environment("EMULATED_GPU_MIB", 4096); }
std::size_t free_gpu_bytes() { return gpu_bytes() - std::min(gpu_bytes(), device_bytes()); }

struct Allocation {
  std::size_t bytes;
  std::uint64_t number;
};
using Allocations = std::map<const std::byte*, Allocation>;
Allocations on_device, pinned;
std::uint64_t allocations = 0;
std::set<std::uint64_t> live;  // their numbers
int device_turns = 0;

/// The allocation that holds [pointer, pointer + bytes), or the end.
Allocations::const_iterator holder(const Allocations& all, const void* pointer, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(pointer);
  auto next = all.upper_bound(at);
  if (next == all.begin()) return all.end();
  --next;
  return at + bytes <= next->first + next->second.bytes ? next : all.end();
}
bool contains(const Allocations& all, const void* pointer, std::size_t bytes) {
  return holder(all, pointer, bytes) != all.end();
}

void set_poison([[maybe_unused]] const std::byte* at, [[maybe_unused]] std::size_t bytes,
                [[maybe_unused]] bool poisoned) {
#ifdef __SANITIZE_ADDRESS__
  if (poisoned)
    __asan_poison_memory_region(at, bytes);
  else
    __asan_unpoison_memory_region(at, bytes);
#endif
}

void check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = contains(on_device, to, bytes), from_device = contains(on_device, from, bytes);
  const bool want_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool want_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device != want_to || from_device != want_from)
    refuse("a copy whose kind does not fit its pointers, or that leaves its allocation");
  if ((!want_to && !contains(pinned, to, bytes)) || (!want_from && !contains(pinned, from, bytes)))
    refuse("an asynchronous copy whose host side is not pinned");
}

std::byte* allocate(Allocations& all, std::size_t bytes, std::size_t alignment) {
  void* at = nullptr;
  if (posix_memalign(&at, alignment, std::max<std::size_t>(bytes, 1)) != 0) return nullptr;
  std::memset(at, 0xff, bytes);
  all[static_cast<std::byte*>(at)] = {bytes, ++allocations};
  live.insert(allocations);
  return static_cast<std::byte*>(at);
}

/// Queues a copy or fill.
cudaError_t queue(cudaStream_t stream, const char* what, std::vector<const void*> pointers,
                  std::function<void()> work) {
  if (device_state() != cudaSuccess) return device_state();
  queue_work(stream, what, std::move(pointers), [work = std::move(work)] {
    return [work] {
      work();
      return true;
    };
  });
  return cudaSuccess;
}

}  // namespace

namespace llm_tp::emulator {

void refuse(const std::string& what) { throw Violation("CUDA call: " + what); }

std::uint64_t allocation_of(const void* pointer) {
  for (const Allocations* all : {&on_device, &pinned})
    if (const auto found = holder(*all, pointer, 1); found != all->end()) return found->second.number;
  return 0;
}

bool is_allocated(std::uint64_t number) { return live.count(number) > 0; }

DeviceTurn::DeviceTurn() {
  if (device_turns++ == 0)
    for (const auto& [at, allocation] : on_device) set_poison(at, allocation.bytes, false);
}
DeviceTurn::~DeviceTurn() {
  if (--device_turns == 0)
    for (const auto& [at, allocation] : on_device) set_poison(at, allocation.bytes, true);
}

void check_device_pointer(const char* kernel, int argument, const void* pointer) {
  if (pointer != nullptr && !contains(on_device, pointer, 0) && !contains(pinned, pointer, 0))
    refuse(std::string("kernel ") + kernel + ": argument " + std::to_string(argument) +
           " points neither to device nor to pinned memory");
}

void require_device(const void* pointer, std::size_t bytes, const char* what) {
  if (!contains(on_device, pointer, bytes)) refuse(std::string(what) + ": not inside one device allocation");
}

void add_device_memory(std::byte* at, std::size_t bytes) {
  on_device[at] = {bytes, ++allocations};
  live.insert(allocations);
  set_poison(at, bytes, device_turns == 0);
}
std::size_t remove_device_memory(const std::byte* at) {
  const auto found = on_device.find(at);
  if (found == on_device.end()) refuse("an address where no device memory begins");
  const std::size_t bytes = found->second.bytes;
  set_poison(at, bytes, false);
  live.erase(found->second.number);
  on_device.erase(found);
  return bytes;
}

std::size_t device_bytes() {
  std::size_t sum = 0;
  for (const auto& [at, allocation] : on_device) sum += allocation.bytes;
  return sum;
}

}  // namespace llm_tp::emulator

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (driver_version() < CUDART_VERSION / 1000 * 1000) return cudaErrorInsufficientDriver;
  *count = gpu_count();
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver_version();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device < gpu_count() ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  std::strcpy(properties->name, "emulated GPU");
  properties->major = 8;
  properties->sharedMemPerBlockOptin = kSharedBytesAtMost;
  properties->totalGlobalMem = gpu_bytes();
  properties->uuid.bytes[15] = static_cast<char>(device);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = gpu_bytes();
  *free = free_gpu_bytes();
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t) {
  refuse_while_capturing("cudaMallocAsync");
  if (device_state() != cudaSuccess) return device_state();
  if (bytes == 0) refuse("cudaMallocAsync of 0 bytes");
  if (bytes + mib_from_environment("EMULATED_LOST_MIB", 0) > free_gpu_bytes())
    return cudaErrorMemoryAllocation;
  std::byte* const at = allocate(on_device, bytes, 256);
  if (at == nullptr) return cudaErrorMemoryAllocation;
  set_poison(at, bytes, device_turns == 0);
  *pointer = at;
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  refuse_while_capturing("cudaFreeAsync");
  drain(stream);  // work queued before may still use it
  remove_device_memory(static_cast<std::byte*>(pointer));
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  refuse_while_capturing("cudaHostAlloc");
  *pointer = allocate(pinned, bytes, 64);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  refuse_while_capturing("cudaFreeHost");
  const auto found = pinned.find(static_cast<std::byte*>(pointer));
  if (found == pinned.end()) refuse("cudaFreeHost of memory that is not pinned");
  live.erase(found->second.number);
  pinned.erase(found);
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  check_copy(to, from, bytes, kind);
  return queue(stream, "cudaMemcpyAsync", {to, from}, [=] { std::memcpy(to, from, bytes); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) refuse("cudaMemcpy2DAsync: a row longer than its pitch");
  if (width == 0 || height == 0) return cudaSuccess;
  check_copy(to, from, from_pitch * (height - 1) + width, kind);
  check_copy(to, from, to_pitch * (height - 1) + width, kind);
  return queue(stream, "cudaMemcpy2DAsync", {to, from}, [=] {
    for (std::size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                  width);
  });
}
cudaError_t cudaMemsetAsync(void* at, int value, std::size_t bytes, cudaStream_t stream) {
  require_device(at, bytes, "cudaMemsetAsync");
  return queue(stream, "cudaMemsetAsync", {at}, [=] { std::memset(at, value, bytes); });
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory"
         : error == cudaErrorIllegalAddress ? "an illegal memory access was encountered"
         : error == cudaSuccess             ? "no error"
                                            : "an error";
}
}

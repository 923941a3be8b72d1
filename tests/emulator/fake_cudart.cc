// The calls of libcudart that kernels/cuda makes, for a machine without a GPU. Misuse ends in
// emulator::Violation. Hosts that lack something are made by the environment:
//   EMULATED_GPUS=N        how many there are; 8
//   EMULATED_DRIVER=12040  the newest CUDA that the driver runs; 0: no driver; the toolkit's
//   EMULATED_GPU_MIB=N     memory of each; 4096
//   EMULATED_FAULT=NAME,N  run N of this kernel fails (break_kernel in fake_device.h)
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <utility>

#include "emulator/block_runner.h"
#include "emulator/fake_device.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

using llm_tp::emulator::Violation;
using Work = std::function<bool()>;  // false: it is to be called again

struct CUstream_st {
  std::deque<Work> queue;
};
struct CUevent_st {
  std::shared_ptr<bool> reached;
  cudaStream_t stream = nullptr;
};

namespace {

constexpr std::size_t kSharedBytesAtMost =
    99 << 10;  // opt-in limit of the smallest supported chips (sm_86, 89, 120)

int from_environment(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}
int gpu_count() { return from_environment("EMULATED_GPUS", 8); }
int driver_version() { return from_environment("EMULATED_DRIVER", CUDART_VERSION); }
std::size_t gpu_bytes() { return static_cast<std::size_t>(from_environment("EMULATED_GPU_MIB", 4096)) << 20; }

using Allocations = std::map<const std::byte*, std::size_t>;
Allocations on_device, pinned;
std::set<cudaStream_t> streams;
std::map<const void*, std::size_t> shared_limits;
std::set<const void*> launched;
int device_turns = 0;

struct Fault {
  std::string kernel;
  int run = 0;
};
Fault fault_from_environment() {
  const char* const text = std::getenv("EMULATED_FAULT");
  const char* const comma = text == nullptr ? nullptr : std::strchr(text, ',');
  return comma == nullptr ? Fault{} : Fault{std::string(text, comma), std::atoi(comma + 1)};
}
Fault fault = fault_from_environment();
cudaError_t device_state = cudaSuccess;  // an error that stays

[[noreturn]] void refuse(const std::string& what) { throw Violation("CUDA call: " + what); }

bool contains(const Allocations& all, const void* pointer, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(pointer);
  auto next = all.upper_bound(at);
  if (next == all.begin()) return false;
  const auto& [begin, size] = *--next;
  return at + bytes <= begin + size;
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

/// Device memory may be touched while one of these lives.
struct DeviceTurn {
  DeviceTurn() {
    if (device_turns++ == 0)
      for (const auto& [at, bytes] : on_device) set_poison(at, bytes, false);
  }
  ~DeviceTurn() {
    if (--device_turns == 0)
      for (const auto& [at, bytes] : on_device) set_poison(at, bytes, true);
  }
  DeviceTurn(const DeviceTurn&) = delete;
  DeviceTurn& operator=(const DeviceTurn&) = delete;
};

/// Runs what is queued until `done`, or until work waits for another process: asking for a stream's state is
/// what moves it.
void run_some(cudaStream_t stream, const std::function<bool()>& done) {
  if (streams.count(stream) == 0) refuse("a stream that does not exist, or the default stream");
  const DeviceTurn turn;
  while (!done() && !stream->queue.empty()) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();  // also where it throws
    if (work()) continue;
    stream->queue.push_front(std::move(work));
    return;
  }
}
/// Streams run at once: what this one waits for may be in another's queue.
void run_others(cudaStream_t stream) {
  for (const cudaStream_t other : std::set(streams))
    if (other != stream && streams.count(other) != 0)
      run_some(other, [other] { return other->queue.empty(); });
}
void drain(cudaStream_t stream) {
  const auto empty = [stream] { return stream->queue.empty(); };
  while (!empty()) {
    // An error is under way: what waits for another process may wait for ever.
    if (std::uncaught_exceptions() > 0) return stream->queue.clear();
    run_some(stream, empty);
    if (!empty()) run_others(stream);
  }
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
  all[static_cast<std::byte*>(at)] = bytes;
  return static_cast<std::byte*>(at);
}

}  // namespace

namespace llm_tp::emulator {

void check_device_pointer(const char* kernel, int argument, const void* pointer) {
  if (pointer != nullptr && !contains(on_device, pointer, 0) && !contains(pinned, pointer, 0))
    refuse(std::string("kernel ") + kernel + ": argument " + std::to_string(argument) +
           " points neither to device nor to pinned memory");
}

void require_device(const void* pointer, std::size_t bytes, const char* what) {
  if (!contains(on_device, pointer, bytes)) refuse(std::string(what) + ": not inside one device allocation");
}

void add_device_memory(std::byte* at, std::size_t bytes) {
  on_device[at] = bytes;
  set_poison(at, bytes, device_turns == 0);
}
std::size_t remove_device_memory(const std::byte* at) {
  const auto found = on_device.find(at);
  if (found == on_device.end()) refuse("an address where no device memory begins");
  const std::size_t bytes = found->second;
  set_poison(at, bytes, false);
  on_device.erase(found);
  return bytes;
}

void queue_work(cudaStream_t stream, std::function<void()> work) {
  if (streams.count(stream) == 0) refuse("a stream that does not exist, or the default stream");
  stream->queue.push_back([work = std::move(work)] {
    work();
    return true;
  });
}

void queue_waiting_work(cudaStream_t stream, std::function<bool()> work) {
  if (streams.count(stream) == 0) refuse("a stream that does not exist, or the default stream");
  stream->queue.push_back(std::move(work));
}

void break_kernel(const std::string& name, int run) {
  fault = {name, run};
  device_state = cudaSuccess;
}

cudaError_t queue_launch(const char* name, const void* kernel, dim3 grid, dim3 block,
                         std::size_t shared_bytes, cudaStream_t stream, std::function<void()> body) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  const auto limit = shared_limits.find(kernel);
  const std::string plain = std::string(name).substr(0, std::string(name).find('<'));
  if (threads == 0 || threads > 1024 || block.z > 64)
    refuse(plain + ": a block of 0 or more than 1024 threads");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    refuse(plain + ": an empty grid, or one beyond 2^31 - 1, 65535, 65535");
  if (shared_bytes > (limit == shared_limits.end() ? std::size_t{48} << 10 : limit->second))
    refuse(plain + ": more dynamic shared memory than the kernel was allowed");
  if (device_state != cudaSuccess) return device_state;
  if (fault.kernel == plain && fault.run == 0) return cudaErrorInvalidConfiguration;
  const auto run = std::make_shared<GridRun>(plain, grid, block, shared_bytes, std::move(body));
  queue_waiting_work(stream, [=, begun = false]() mutable {
    launched.insert(kernel);
    if (!std::exchange(begun, true) && fault.kernel == plain && --fault.run == 0) {
      device_state = cudaErrorIllegalAddress;
      stream->queue.clear();
      return true;
    }
    return run->advance();
  });
  return cudaSuccess;
}

const std::set<const void*>& launched_kernels() { return launched; }

std::size_t device_bytes() {
  std::size_t sum = 0;
  for (const auto& [at, bytes] : on_device) sum += bytes;
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
  *free = *total - std::min(*total, llm_tp::emulator::device_bytes());
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  if (device_state != cudaSuccess) return device_state;
  if (streams.count(stream) == 0) refuse("cudaMallocAsync on a stream that does not exist");
  if (bytes == 0) refuse("cudaMallocAsync of 0 bytes");
  if (bytes > gpu_bytes() - std::min(gpu_bytes(), llm_tp::emulator::device_bytes()))
    return cudaErrorMemoryAllocation;
  std::byte* const at = allocate(on_device, bytes, 256);
  if (at == nullptr) return cudaErrorMemoryAllocation;
  set_poison(at, bytes, device_turns == 0);
  *pointer = at;
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  // Work queued before may still use it.
  drain(stream);
  const auto found = on_device.find(static_cast<std::byte*>(pointer));
  if (found == on_device.end()) refuse("cudaFreeAsync of what is no allocation of the device");
  set_poison(found->first, found->second, false);
  on_device.erase(found);
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  *pointer = allocate(pinned, bytes, 64);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (pinned.erase(static_cast<std::byte*>(pointer)) == 0)
    refuse("cudaFreeHost of memory that is not pinned");
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (device_state != cudaSuccess) return device_state;
  check_copy(to, from, bytes, kind);
  llm_tp::emulator::queue_work(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) refuse("cudaMemcpy2DAsync: a row longer than its pitch");
  if (width == 0 || height == 0) return cudaSuccess;
  check_copy(to, from, from_pitch * (height - 1) + width, kind);
  check_copy(to, from, to_pitch * (height - 1) + width, kind);
  llm_tp::emulator::queue_work(stream, [=] {
    for (std::size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                  width);
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int value, std::size_t bytes, cudaStream_t stream) {
  llm_tp::emulator::require_device(at, bytes, "cudaMemsetAsync");
  llm_tp::emulator::queue_work(stream, [=] { std::memset(at, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(stream);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  drain(stream);
  return device_state;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  run_some(stream, [stream] { return stream->queue.empty(); });
  if (!stream->queue.empty()) run_others(stream);
  if (device_state != cudaSuccess) return device_state;
  return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->reached = std::make_shared<bool>(false);
  event->stream = stream;
  llm_tp::emulator::queue_work(stream, [reached = event->reached] { *reached = true; });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const auto reached = [event] { return event->reached == nullptr || *event->reached; };
  if (!reached()) run_some(event->stream, reached);
  if (!reached()) run_others(event->stream);
  if (device_state != cudaSuccess) return device_state;
  return reached() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    refuse("cudaFuncSetAttribute: unknown attribute");
  if (static_cast<std::size_t>(value) > kSharedBytesAtMost) return cudaErrorInvalidValue;
  shared_limits[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
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

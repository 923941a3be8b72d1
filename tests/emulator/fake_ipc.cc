// The calls of libcudart that share device memory between processes: the memory is a file without a name,
// which others open through /proc. What CUDA refuses is refused: handles of memory that cudaMalloc did not
// make, of this process's own memory, of memory that is mapped already. EMULATED_IPC=0: sharing is not
// supported.
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "emulator/block_runner.h"
#include "emulator/fake_device.h"
#include "emulator/fake_memory.h"

using namespace llm_tp::emulator;

namespace {

struct Handle {
  int pid, file;
  unsigned long bytes;
};
static_assert(sizeof(Handle) <= sizeof(cudaIpcMemHandle_t));

std::map<const std::byte*, int> own;  // memory of cudaMalloc, and its file
std::map<const std::byte*, cudaIpcMemHandle_t> opened;

bool is_supported() {
  const char* const text = std::getenv("EMULATED_IPC");
  return text == nullptr || std::atoi(text) != 0;
}

std::byte* map_file(int file, std::size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

void unmap(std::byte* at) { munmap(at, remove_device_memory(at)); }

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  refuse_while_capturing("cudaMalloc");
  if (bytes == 0) refuse("cudaMalloc of 0 bytes");
  const int file = memfd_create("emulated device memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return cudaErrorMemoryAllocation;
  std::byte* const at = map_file(file, bytes);
  if (at == nullptr) return cudaErrorMemoryAllocation;
  std::memset(at, 0xff, bytes);
  add_device_memory(at, bytes);
  own[at] = file;
  *pointer = at;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  refuse_while_capturing("cudaFree");
  const auto found = own.find(static_cast<std::byte*>(pointer));
  if (found == own.end()) refuse("cudaFree of what cudaMalloc did not make");
  unmap(static_cast<std::byte*>(pointer));
  close(found->second);
  own.erase(found);
  return cudaSuccess;
}
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  const auto found = own.find(static_cast<std::byte*>(pointer));
  if (found == own.end()) refuse("cudaIpcGetMemHandle of what cudaMalloc did not make");
  if (!is_supported()) return cudaErrorNotSupported;
  struct stat state {};
  fstat(found->second, &state);
  *handle = {};
  const Handle mine{getpid(), found->second, static_cast<unsigned long>(state.st_size)};
  std::memcpy(handle, &mine, sizeof mine);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned flags) {
  if (flags != cudaIpcMemLazyEnablePeerAccess) refuse("cudaIpcOpenMemHandle: unknown flags");
  Handle theirs{};
  std::memcpy(&theirs, &handle, sizeof theirs);
  if (theirs.pid == getpid()) refuse("cudaIpcOpenMemHandle of this process's own memory");
  for (const auto& [at, other] : opened)
    if (std::memcmp(&other, &handle, sizeof handle) == 0)
      refuse("cudaIpcOpenMemHandle of memory that is mapped already");
  const std::string path = "/proc/" + std::to_string(theirs.pid) + "/fd/" + std::to_string(theirs.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorInvalidResourceHandle;
  std::byte* const at = map_file(file, theirs.bytes);
  close(file);
  if (at == nullptr) return cudaErrorMemoryAllocation;
  add_device_memory(at, theirs.bytes);
  opened[at] = handle;
  *pointer = at;
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  if (opened.erase(static_cast<std::byte*>(pointer)) == 0)
    refuse("cudaIpcCloseMemHandle of what was not opened");
  unmap(static_cast<std::byte*>(pointer));
  return cudaSuccess;
}
}

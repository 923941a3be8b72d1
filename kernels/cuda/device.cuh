#pragma once
// Every word in which kernels for nvcc differ from what the tests' emulator compiles as host C++. Kernels use
// these words and those of ptx.cuh; nothing else here depends on the compiler.
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device_log.h"

#ifdef __CUDACC__
#define LLM_TP_SHARED(type, name, extent) __shared__ type name extent
#define LLM_TP_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace llm_tp {

/// Queues kernel(arguments...) on the stream. Errors: as cuda_error.h says, with the kernel's name.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  DeviceLog::of_this_thread().launches(name);
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace llm_tp
#else
#include "emulator/cuda_words.h"

namespace llm_tp {
using emulator::launch;
}
#endif

/// LLM_TP_LAUNCH(add_kernel, grid, block, shared_bytes, stream, arguments...)
#define LLM_TP_LAUNCH(kernel, ...) ::llm_tp::launch(#kernel, kernel, __VA_ARGS__)

namespace llm_tp {

inline unsigned blocks_for(std::int64_t items, std::int64_t block) {
  return static_cast<unsigned>((items + block - 1) / block);
}

}  // namespace llm_tp

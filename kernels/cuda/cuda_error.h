#pragma once
#include <cuda_runtime_api.h>

#include "kernels/device_error.h"

namespace llm_tp {

/// Errors: DeviceError, kOutOfMemory where the device has no memory left, else kUnavailable: "CUDA, device 0
/// (NVIDIA H100): add_kernel: an illegal memory access was encountered; …". What a kernel does wrong shows at
/// a later call, often a wait, so the kernels that it may come from are named too.
void check_cuda(cudaError_t result, const char* call);

}  // namespace llm_tp

#pragma once
#include <cuda_runtime_api.h>

#include <string>

namespace llm_tp {

/// Errors: kOutOfMemory where the device has no memory left, else kUnavailable: "CUDA add_kernel: an illegal
/// memory access was encountered". What a kernel does wrong shows at a later call, often a wait.
void check_cuda(cudaError_t result, const char* call);

}  // namespace llm_tp

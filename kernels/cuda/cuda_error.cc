#include "kernels/cuda/cuda_error.h"

#include "base/error.h"

namespace llm_tp {

void check_cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  const std::string text = std::string("CUDA ") + call + ": " + cudaGetErrorString(result);
  if (result == cudaErrorMemoryAllocation)
    throw Error(ExitCode::kOutOfMemory, text + ": use more ranks, a smaller --max-context, or --dtype q8_0");
  throw Error(ExitCode::kUnavailable, text);
}

}  // namespace llm_tp

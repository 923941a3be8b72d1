#include "kernels/cuda/cuda_error.h"

#include <string>

#include "kernels/cuda/device_log.h"

namespace llm_tp {

void check_cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  const DeviceLog& log = DeviceLog::of_this_thread();
  const std::string text = "CUDA, " + log.device() + ": " + call + ": " + cudaGetErrorString(result);
  if (result == cudaErrorMemoryAllocation)
    throw DeviceError(ExitCode::kOutOfMemory,
                      text + ": use more ranks, a smaller --max-context, or --dtype q8_0");
  throw DeviceError(ExitCode::kUnavailable, text + "; " + log.suspects());
}

}  // namespace llm_tp

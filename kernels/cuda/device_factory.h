#pragma once
#include <memory>
#include <string>

#include "kernels/device.h"

namespace llm_tp {

/// The GPUs a process can use. This header needs no CUDA; a build without CUDA has the same functions.
struct CudaDevices {
  int count = 0;
  std::string reason;  // why there is none: no driver, no device, or not built
};
/// Asks the driver each time.
CudaDevices cuda_devices();
/// False: cuda_devices() is empty in this build wherever it runs.
bool cuda_is_built();
/// "13.0", the CUDA runtime this program was built with; empty in a build without CUDA.
std::string cuda_build_version();

/// DeviceBackend on GPU number `device`. One thread calls it. Errors: kUnavailable where there is no such
/// device or the driver refuses it.
std::unique_ptr<DeviceBackend> make_cuda_backend(int device, int packing_threads);

}  // namespace llm_tp

#include <cuda_runtime_api.h>

#include <array>
#include <cstdio>

#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

/// "13.0" of 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string id_text(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (const char byte : uuid.bytes) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(byte)));
    text += digits.data();
  }
  return text;
}

std::string reason_for(cudaError_t result, int driver) {
  if (driver == 0)
    return "no NVIDIA driver was found: install one, or let the container see it (docker --gpus all, "
           "apptainer --nv)";
  if (driver < CUDART_VERSION / 1000 * 1000)
    return "the NVIDIA driver runs CUDA up to " + version_text(driver) +
           ", and this program was built with " + version_text(CUDART_VERSION) +
           ": install a newer driver, or build with the toolkit of CUDA " + version_text(driver);
  if (result == cudaErrorNoDevice)
    return "the NVIDIA driver is there, but no GPU can be seen: look at nvidia-smi and CUDA_VISIBLE_DEVICES";
  return std::string("no GPU can be used: ") + cudaGetErrorString(result);
}

}  // namespace

CudaDevices cuda_devices() {
  CudaDevices found;
  int driver = 0, count = 0;
  cudaDriverGetVersion(&driver);
  if (driver > 0) found.driver = version_text(driver);
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess || count == 0) {
    found.reason = reason_for(result == cudaSuccess ? cudaErrorNoDevice : result, driver);
    return found;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    found.devices.push_back({properties.name, id_text(properties.uuid),
                             10 * properties.major + properties.minor,
                             static_cast<std::int64_t>(properties.totalGlobalMem)});
  }
  return found;
}

bool cuda_is_built() { return true; }
std::string cuda_build_version() { return version_text(CUDART_VERSION); }

}  // namespace llm_tp

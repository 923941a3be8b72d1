// Stands in for the CUDA backend in builds without it.
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

constexpr const char* kReason =
    "this build has no CUDA backend; to build one, install the CUDA Toolkit (nvcc) and run cmake --preset "
    "cuda && "
    "cmake --build --preset cuda";

}  // namespace

CudaDevices cuda_devices() { return {{}, kReason, {}}; }
bool cuda_is_built() { return false; }
std::string cuda_build_version() { return {}; }
LibraryPresence find_cublaslt() { return {false, "this build has no CUDA backend"}; }
std::unique_ptr<DeviceBackend> make_cuda_backend(int, int, ManyTokensAs, bool) {
  throw Error(ExitCode::kUnavailable, kReason);
}

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace llm_tp {

// This header needs no CUDA; a build without CUDA has the same functions.

struct CudaDevice {
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string id;          // "GPU-5e6c…": the same card has the same one in every process
  int generation = 0;      // 90 for sm_90
  std::int64_t bytes = 0;  // of memory, free or not
};

/// The GPUs a process can use.
struct CudaDevices {
  std::vector<CudaDevice> devices;
  std::string reason;  // why there is none: no driver, no device, or not built
  std::string driver;  // "13.0": the newest CUDA that the driver runs; empty where there is none
};
/// Asks the driver each time.
CudaDevices cuda_devices();
/// False: cuda_devices() is empty in this build wherever it runs.
bool cuda_is_built();
/// "13.0", the CUDA runtime this program was built with; empty in a build without CUDA.
std::string cuda_build_version();

/// What products of more than 16 tokens take of activations: f32 numbers whole, or rounded to bf16, which is
/// a third of the work; kCublasLt: and those of more than kLibraryTokens are cuBLASLt's, which rounds weights
/// too. Fewer tokens are always whole: weights are what their time goes to.
enum class ManyTokensAs : std::uint8_t { kF32, kBf16, kCublasLt };
/// Steps of up to so many rows may be recorded as graphs, since a launch takes about as long as a kernel;
/// above, what a library wants to unpack first is worth it.
constexpr std::int64_t kLibraryTokens = 256;

struct LibraryPresence {
  bool usable = false;
  std::string text;  // "cuBLASLt 13.1.0 (libcublasLt.so.13)", or what is missing and what to do
};
LibraryPresence find_cublaslt();

/// DeviceBackend on GPU number `device`; graphs: repeated runs of ops are replayed from graphs. One thread
/// calls it. Errors: kUnavailable where there is no such device, the driver refuses it, or cuBLASLt is wanted
/// and cannot be used.
std::unique_ptr<DeviceBackend> make_cuda_backend(int device, int packing_threads, ManyTokensAs many_tokens,
                                                 bool graphs);

}  // namespace llm_tp

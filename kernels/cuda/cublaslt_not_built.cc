// Stands in for cuBLASLt in GPU builds without its header.
#include "base/error.h"
#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

constexpr const char* kReason =
    "this build has no cuBLASLt: cublasLt.h was not found when it was configured; install cuBLAS of the CUDA "
    "Toolkit and run cmake --preset cuda again";

}  // namespace

LibraryPresence find_cublaslt() { return {false, kReason}; }
std::unique_ptr<Bf16Gemm> make_cublaslt_gemm(cudaStream_t) { throw Error(ExitCode::kUnavailable, kReason); }

}  // namespace llm_tp

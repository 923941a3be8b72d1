#pragma once
#include <cstddef>
#include <memory>

#include "kernels/cuda/unpack.h"

namespace llm_tp {

/// A library's matrix product on one stream. One thread.
class Bf16Gemm {
 public:
  virtual ~Bf16Gemm() = default;
  /// out [T,N] f32 = x [T,K] * w [N,K]^T (+ bias [N] where not null), summed in f32: the same from run to run
  /// for a shape, but in whatever order the library finds fast. K is a multiple of 16, x and w are aligned to
  /// 16 bytes and so are their rows. Errors: kUnavailable where the library has no way.
  virtual void multiply(DeviceRows out, Bf16Matrix x, Bf16Matrix w, const float* bias) = 0;
};

/// Of device memory, that every Bf16Gemm by cuBLASLt takes when it is made: what NVIDIA advises for large
/// chips.
constexpr std::size_t kGemmWorkspaceBytes = std::size_t{32} << 20;

/// Errors: kUnavailable where cuBLASLt cannot be used here (find_cublaslt() says why), or does not start.
std::unique_ptr<Bf16Gemm> make_cublaslt_gemm(cudaStream_t stream);

}  // namespace llm_tp

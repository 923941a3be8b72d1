#pragma once
#include <memory>
#include <span>

#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/cuda_weight.h"
#include "kernels/cuda/handles.h"

namespace llm_tp {

/// Products of many tokens by a library, whatever the weight's dtype: activations and weights are rounded to
/// bf16. Weights lie in the order that our own kernels for few tokens want (packed_weight.h) and once only,
/// so a piece of rows at a time is unpacked to where the library reads it. A piece is about what the
/// second-level cache holds: then the product finds it there, and device memory sees the packed bytes alone.
class LibraryProducts {
 public:
  static constexpr std::int64_t kPieceBytes = std::int64_t{64} << 20;

  LibraryProducts(cudaStream_t stream, std::unique_ptr<Bf16Gemm> gemm,
                  std::int64_t piece_bytes = kPieceBytes);
  /// Bytes that linear() needs for these weights and so many tokens.
  struct Sizes {
    std::int64_t operand = 0, piece = 0;
  };
  Sizes sizes_for(std::span<const DeviceWeight> weights, std::int64_t tokens) const;
  void reserve(const Sizes& sizes);
  /// As linear.h has it; of every root one product. bias only where there is one root.
  void linear(DeviceRows out, std::int64_t root_stride, DeviceRows x, const CudaPackedWeight& w,
              const float* bias);

 private:
  std::int64_t piece_tiles(const DeviceWeight& weight) const;

  cudaStream_t stream_;
  std::unique_ptr<Bf16Gemm> gemm_;
  std::int64_t piece_bytes_;
  StreamMemory operand_, piece_;
};

}  // namespace llm_tp

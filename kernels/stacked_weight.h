#pragma once
#include <memory>
#include <vector>

#include "kernels/device.h"

namespace llm_tp {

/// The rows of several matrices that read the same input, one below the other: q, k and v; gate and up. Each
/// keeps the dtype it has in its file (llama.cpp's mixtures give v more bits than q and k); neighbours of one
/// dtype are packed as one.
class StackedWeight {
 public:
  void append(std::unique_ptr<PackedWeight> rows);
  std::int64_t rows() const noexcept { return rows_; }
  const std::vector<std::unique_ptr<PackedWeight>>& pieces() const noexcept { return pieces_; }
  /// out [T,N] = x [T,K] * w^T (+ bias [N] where not empty), as DeviceBackend::linear.
  void linear(DeviceBackend& ops, TensorView out, TensorView x, TensorView bias) const;
  /// out [T,C] of gate and up [2C,K], as DeviceBackend::linear_gated.
  void linear_gated(DeviceBackend& ops, TensorView out, TensorView gate_up, TensorView x, TensorView bias,
                    Activation activation) const;
  /// qkv [T,N] and its heads, as DeviceBackend::linear_heads.
  void linear_heads(DeviceBackend& ops, TensorView qkv, TensorView x, TensorView bias, const HeadMap& heads,
                    const HeadSteps& steps, KvCache& cache, int layer, const Batch& batch) const;

 private:
  std::vector<std::unique_ptr<PackedWeight>> pieces_;
  std::int64_t rows_ = 0;
};

}  // namespace llm_tp

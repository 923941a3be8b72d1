#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "model/model_shape.h"

namespace llm_tp {

/// Angles of rotary embeddings, computed in double. Frequencies follow Hugging Face's modeling_rope_utils
/// (linear, llama3).
class Rope {
 public:
  Rope(const RopeSettings& settings, std::int64_t head_dim);
  /// out [T, head_dim]: cosines of the head_dim / 2 pairs, then their sines, at positions [T].
  void fill(TensorView out, std::span<const std::int32_t> positions) const;
  std::span<const double> frequencies() const noexcept { return frequencies_; }

 private:
  std::vector<double> frequencies_;
};

}  // namespace llm_tp

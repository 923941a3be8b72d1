#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "model/rope_settings.h"

namespace llm_tp {

/// Angles of rotary embeddings, computed in double; docs/rope.md.
class Rope {
 public:
  Rope(const RopeSettings& settings, std::int64_t head_dim);
  /// Elements of a head that turn.
  std::int64_t rotary() const noexcept { return rotary_; }
  /// out [T, rotary]: cosines of the rotary / 2 pairs, then their sines, at positions [T] of sequences that
  /// are lengths [T] long.
  void fill(TensorView out, std::span<const std::int32_t> positions,
            std::span<const std::int32_t> lengths) const;
  /// Of the pairs, in a sequence of this length.
  std::vector<double> frequencies(std::int64_t length) const;

 private:
  RopeSettings settings_;
  std::int64_t rotary_;
};

}  // namespace llm_tp

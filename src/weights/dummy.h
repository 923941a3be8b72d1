#pragma once
#include <cstdint>

#include "weights/weight_source.h"

namespace llm_tp {

/// The weights of a model that need no file.
struct DummyShape {
  std::int64_t hidden = 0, layers = 0;
  std::int64_t query_rows = 0, kv_rows = 0;  // heads x head size
  std::int64_t mlp_columns = 0, vocabulary = 0;
  bool qkv_biases = false, output_bias = false, mlp_biases = false;
  bool tied = false;           // no LM head of its own
  DType dtype = DType::kBF16;  // of matrices; vectors have it too, or f32 where it is a block format
  std::uint64_t seed = 0;
};

/// Random weights for benchmarks and tests: each number is a hash of (seed, role, layer, row, column),
/// uniform with standard deviation 1 / sqrt(columns), norms are 1. So any slice is made without the rest, and
/// ranks agree. Thread-safe.
class DummySource final : public WeightSource {
 public:
  /// kConfig where an extent is not positive or a row is not made of whole blocks of the dtype.
  explicit DummySource(const DummyShape& shape);

  std::optional<WeightInfo> find(WeightKey key) const override;
  void read(WeightKey key, Range rows, Range columns, std::byte* out) const override;
  void release(WeightKey) const override {}
  std::int64_t file_bytes() const override { return bytes_; }
  std::int64_t parameters() const override { return parameters_; }

 private:
  DummyShape shape_;
  std::int64_t bytes_ = 0, parameters_ = 0;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "weights/weight_source.h"

namespace llm_tp {

/// A tensor that a dummy checkpoint holds.
struct DummyTensor {
  WeightKey key;
  std::int64_t rows = 0, columns = 0;  // 1 row for vectors
};

/// Random weights for benchmarks and tests, that need no file: each number is a hash of (seed, role, layer,
/// expert, row, column), uniform with standard deviation 1 / sqrt(columns), norms are 1. So any slice is made
/// without the rest, and ranks agree. Thread-safe.
class DummySource final : public WeightSource {
 public:
  /// dtype is that of matrices; vectors have it too, or f32 where it is a block format. kConfig where an
  /// extent is not positive or a row of a matrix is not made of whole blocks of the dtype.
  DummySource(const std::vector<DummyTensor>& tensors, DType dtype, std::uint64_t seed = 0);

  std::optional<WeightInfo> find(WeightKey key) const override;
  void read(WeightKey key, Range rows, Range columns, std::byte* out) const override;
  void release(WeightKey) const override {}
  std::int64_t file_bytes() const override { return bytes_; }
  std::int64_t parameters() const override { return parameters_; }

 private:
  static std::uint64_t number_of(WeightKey key) noexcept;

  std::unordered_map<std::uint64_t, DummyTensor> tensors_;
  DType dtype_;
  std::uint64_t seed_;
  std::int64_t bytes_ = 0, parameters_ = 0;
};

}  // namespace llm_tp

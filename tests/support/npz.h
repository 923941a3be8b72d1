#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace llm_tp {

/// A dense float32 array, the last dimension contiguous.
struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  std::int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  std::int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  /// Row of a matrix: columns() numbers.
  const float* row(std::int64_t index) const {
    return values.data() + static_cast<std::size_t>(index * columns());
  }
};

/// One .npy file in memory (format 1.0 or 2.0, '<f4', C order). Throws Error(kBadData) that names `name`.
NpyArray parse_npy(const std::string& bytes, const std::string& name);
/// A .npy file. Throws Error(kMissingFile) or Error(kBadData).
NpyArray read_npy(const std::string& path);

/// The arrays of a .npz file (a zip of .npy files, stored or deflated), by name without ".npy"; arrays of
/// other types than float32 are left out. Sizes come from the central directory and are checked against the
/// file.
std::map<std::string, NpyArray> parse_npz(const std::string& bytes, const std::string& name);
std::map<std::string, NpyArray> read_npz(const std::string& path);

}  // namespace llm_tp

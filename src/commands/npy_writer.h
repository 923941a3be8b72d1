#pragma once
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace llm_tp {

/// Writes a float32 matrix to a .npy file (NumPy's format 1.0) row by row. Errors: kIoError, a full disk too.
class NpyWriter {
 public:
  NpyWriter(const std::string& path, std::int64_t rows, std::int64_t columns);
  void row(std::span<const float> values);
  /// All rows must have been written.
  void close();

 private:
  void write(const void* data, std::size_t bytes);
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::int64_t rows_left_, columns_;
};

}  // namespace llm_tp

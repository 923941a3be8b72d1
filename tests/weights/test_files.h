#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/weight_source.h"

namespace llm_tp {

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "llm-tp-weights-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
template <typename T>
std::string raw_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// A safetensors file of this header and these data bytes.
inline std::string safetensors_file(const std::string& header, const std::string& data = "") {
  return raw(std::uint64_t{header.size()}) + header + data;
}

/// Writes GGUF files piece by piece, broken ones too.
class GgufBuilder {
 public:
  static std::string text(std::string_view value) {
    return raw(std::uint64_t{value.size()}) + std::string(value);
  }

  GgufBuilder& value(std::string_view key, std::uint32_t type, const std::string& payload) {
    metadata_ += text(key) + raw(type) + payload;
    ++values_;
    return *this;
  }
  GgufBuilder& string(std::string_view key, std::string_view content) { return value(key, 8, text(content)); }
  GgufBuilder& u32(std::string_view key, std::uint32_t content) { return value(key, 4, raw(content)); }
  GgufBuilder& tensor(std::string_view name, std::vector<std::uint64_t> extents, std::uint32_t type,
                      std::uint64_t offset) {
    table_ += text(name) + raw(static_cast<std::uint32_t>(extents.size())) + raw_of(extents) + raw(type) +
              raw(offset);
    ++tensors_;
    return *this;
  }
  GgufBuilder& f32_tensor(std::string_view name, std::vector<std::uint64_t> extents,
                          const std::vector<float>& numbers) {
    tensor(name, std::move(extents), 0, data.size());
    data += raw_of(numbers);
    data.resize((data.size() + 31) / 32 * 32);
    return *this;
  }
  std::string file() const {
    std::string result = head() + metadata_ + table_;
    result.resize((result.size() + 31) / 32 * 32);
    return result + data;
  }
  std::string head() const {
    return "GGUF" + raw(version) + raw(tensors_ + more_tensors) + raw(values_ + more_values);
  }

  std::uint32_t version = 3;
  std::uint64_t more_tensors = 0, more_values = 0;  // claimed, not written
  std::string data;

 private:
  std::string metadata_, table_;
  std::uint64_t tensors_ = 0, values_ = 0;
};

/// The action must throw Error with this code, and the message must hold all of `words`.
inline void expect_error(ExitCode code, const std::vector<std::string>& words,
                         const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return;
  }
  ADD_FAILURE() << "no error that says \"" << (words.empty() ? "" : words.front()) << "\"";
}

inline std::vector<std::byte> read_slice(const WeightSource& source, WeightKey key, Range rows,
                                         Range columns) {
  const WeightInfo info = source.find(key).value();
  std::vector<std::byte> out(static_cast<std::size_t>(rows.size() * row_bytes(info.dtype, columns.size())));
  source.read(key, rows, columns, out.data());
  return out;
}
inline std::vector<std::byte> read_whole(const WeightSource& source, WeightKey key) {
  const WeightInfo info = source.find(key).value();
  return read_slice(source, key, {0, info.rows}, {0, info.columns});
}
inline std::vector<float> as_floats(const WeightSource& source, WeightKey key) {
  const WeightInfo info = source.find(key).value();
  const std::vector<std::byte> bytes = read_whole(source, key);
  std::vector<float> numbers(static_cast<std::size_t>(info.rows * info.columns));
  convert_row(info.dtype, bytes.data(), DType::kF32, reinterpret_cast<std::byte*>(numbers.data()),
              info.rows * info.columns);
  return numbers;
}

/// Every kind of slice (whole, first and last rows and blocks, the middle, one row, none) equals that part of
/// the whole.
inline void expect_slices_of_whole(const WeightSource& source, WeightKey key) {
  const WeightInfo info = source.find(key).value();
  const std::vector<std::byte> whole = read_whole(source, key);
  const std::int64_t block = block_elements(info.dtype), blocks = info.columns / block;
  const auto cuts = [](std::int64_t n) {
    return std::vector<Range>{{0, n}, {0, n / 2}, {n / 2, n}, {n / 3, n - n / 3}, {n - 1, n}, {n / 2, n / 2}};
  };
  for (const Range rows : cuts(info.rows)) {
    for (const Range part : cuts(blocks)) {
      const Range columns{part.begin * block, part.end * block};
      std::vector<std::byte> expected;
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        const auto at = whole.begin() + row * row_bytes(info.dtype, info.columns);
        expected.insert(expected.end(), at + row_bytes(info.dtype, columns.begin),
                        at + row_bytes(info.dtype, columns.end));
      }
      EXPECT_EQ(read_slice(source, key, rows, columns), expected)
          << info.name << " rows " << rows.begin << " to " << rows.end << " columns " << columns.begin
          << " to " << columns.end;
    }
  }
}

/// Every key that a checkpoint of this many layers may have.
inline std::vector<WeightKey> keys_of(int layers) {
  std::vector<WeightKey> keys{{WeightRole::kEmbedding}, {WeightRole::kFinalNorm}, {WeightRole::kLmHead}};
  for (int layer = 0; layer < layers; ++layer)
    for (int role = static_cast<int>(WeightRole::kAttentionNorm);
         role <= static_cast<int>(WeightRole::kDownBias); ++role)
      keys.push_back({static_cast<WeightRole>(role), layer});
  return keys;
}

}  // namespace llm_tp

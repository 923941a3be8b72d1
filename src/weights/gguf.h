#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"

namespace llm_tp {

/// A tensor of a GGUF file.
struct GgufTensor {
  std::string_view name;                            // into the file
  std::uint32_t type = 0;                           // ggml's number
  int dimensions = 0;                               // 1 to 4
  std::array<std::int64_t, 4> extents{1, 1, 1, 1};  // innermost first: extents[0] is a row's length
  std::int64_t elements = 0;
  std::span<const std::byte> data;  // into the file; empty for a type whose size is not known
};

/// Header, metadata and tensor table of a GGUF file (version 2 or 3, little endian). Immutable; any thread
/// may read. Everything is checked when it is parsed; memory and time are bounded by the bytes of the file.
/// Errors are kBadData and name file, key or tensor and the offset. Strings and arrays stay in the file and
/// are read on demand.
class GgufFile {
 public:
  /// Maps the file, and where it is the first of several (-00001-of-0000N.gguf) all of them: its tensors are
  /// theirs together, its metadata its own. Also the errors of MappedFile; kMissingFile names a missing part.
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);
  /// `bytes` outlive the result.
  static GgufFile parse(std::span<const std::byte> bytes, std::string file_name = "GGUF");

  /// A value of the metadata: nullopt without such a key, kBadData where it is of another type. integer()
  /// takes integers of all sizes, real() integers and floats, and the arrays alike.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  std::optional<std::vector<std::string_view>> strings(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> integers(std::string_view key) const;
  std::optional<std::vector<float>> floats(std::string_view key) const;
  bool has(std::string_view key) const { return values_.contains(key); }
  /// All keys in the order of the file.
  const std::vector<std::string_view>& keys() const noexcept { return keys_; }

  /// In the order of the file.
  const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }
  /// nullptr without a tensor of that name.
  const GgufTensor* tensor(std::string_view name) const;

  const std::string& file_name() const noexcept { return name_; }
  /// Of all parts.
  std::int64_t file_bytes() const noexcept;
  std::int64_t alignment() const noexcept { return alignment_; }
  std::uint32_t version() const noexcept { return version_; }
  /// Files that this one's tensors lie in.
  std::int64_t parts() const noexcept { return 1 + static_cast<std::int64_t>(others_.size()); }
  /// MappedFile::release of these bytes; nothing for a file that was parsed from memory.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  enum class ValueType : std::uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kF64,
    kCount
  };
  struct Value {
    ValueType type;  // of an array: that of its elements
    bool array = false;
    std::uint64_t count = 1;
    std::span<const std::byte> payload;  // the value, the string's text, or all elements as stored
  };
  class Reader;

  GgufFile(std::span<const std::byte> bytes, std::string file_name);
  static std::shared_ptr<GgufFile> open_alone(const std::filesystem::path& path);
  void add_parts(const std::filesystem::path& path, std::int64_t count);
  void read_metadata(Reader& reader, std::uint64_t count);
  void read_tensors(Reader& reader, std::uint64_t count);
  void place_tensors(std::uint64_t data_begin, const std::vector<std::uint64_t>& offsets);
  const Value* value(std::string_view key, bool array) const;
  [[noreturn]] void refuse_type(std::string_view key, const char* wanted) const;
  static std::size_t size_of(ValueType type) noexcept;
  std::optional<std::int64_t> integer_at(const Value& value, std::uint64_t index, std::string_view key) const;
  std::optional<double> real_at(const Value& value, std::uint64_t index, std::string_view key) const;

  std::unique_ptr<const MappedFile> map_;                // of open()
  std::vector<std::shared_ptr<const GgufFile>> others_;  // second part and on
  std::span<const std::byte> bytes_;
  std::string name_;
  std::uint32_t version_ = 0;
  std::int64_t alignment_ = 32;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, Value> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> tensor_index_;
};

}  // namespace llm_tp

#pragma once
#include <cstddef>
#include <filesystem>
#include <span>

namespace llm_tp {

/// A whole file mapped read-only. Bytes that are never touched are never read. Any thread may read.
/// Errors: kMissingFile where it cannot be opened, kBadData where it is no regular file, kIoError where it
/// cannot be mapped.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  MappedFile(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }
  /// Tells the kernel that these bytes were used up: they leave this process's resident memory (not the page
  /// cache).
  void release(std::span<const std::byte> part) const noexcept;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace llm_tp

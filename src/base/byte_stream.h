#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace llm_tp {

/// Messages between ranks of one build on like machines: values and vectors of trivially copyable types, and
/// texts, one after the other.
class ByteWriter {
 public:
  template <class T>
  void value(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&v, sizeof(T));
  }
  template <class T>
  void list(const std::vector<T>& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    value(static_cast<std::uint64_t>(v.size()));
    if (!v.empty()) append(v.data(), v.size() * sizeof(T));
  }
  void text(std::string_view v) {
    value(static_cast<std::uint64_t>(v.size()));
    if (!v.empty()) append(v.data(), v.size());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const std::size_t before = bytes_.size();
    bytes_.resize(before + size);
    std::memcpy(bytes_.data() + before, data, size);
  }
  std::vector<std::byte> bytes_;
};

/// Errors: kBug where the message is shorter than what is read: the ranks are out of step.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <class T>
  T value() {
    static_assert(std::is_trivially_copyable_v<T>);
    LLM_TP_CHECK(rest_.size() >= sizeof(T), "message too short");
    T v;
    std::memcpy(&v, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return v;
  }
  template <class T>
  std::vector<T> list() {
    const auto n = value<std::uint64_t>();
    LLM_TP_CHECK(n <= rest_.size() / sizeof(T), "message too short for its list");
    std::vector<T> v(n);
    if (n > 0) std::memcpy(v.data(), rest_.data(), n * sizeof(T));
    rest_ = rest_.subspan(n * sizeof(T));
    return v;
  }
  std::string text() {
    const auto characters = list<char>();
    return {characters.begin(), characters.end()};
  }
  bool done() const noexcept { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace llm_tp

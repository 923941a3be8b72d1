#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace llm_tp {

/// A tensor of a safetensors file with its bytes in the file's map.
struct StoredTensor {
  std::string name;   // with its file, for messages
  std::string dtype;  // "I32"
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;

  std::int64_t extent(std::size_t i) const { return i < shape.size() ? shape[i] : 1; }
  template <class T>
  T at(std::int64_t i) const noexcept {
    T value;
    std::memcpy(&value, data.data() + i * static_cast<std::int64_t>(sizeof(T)), sizeof value);
    return value;
  }
};

/// The tensor of a name of the checkpoint, or nullopt.
using TensorFinder = std::function<std::optional<StoredTensor>(const std::string& name)>;

/// The tensor, which must be there and have one of the dtypes ("F16 BF16 F32"). Errors: kBadData.
StoredTensor require_tensor(const TensorFinder& find, const std::string& name, const std::string& dtypes);
/// Errors: kBadData where the shape is another one.
void require_shape(const StoredTensor& tensor, const std::vector<std::int64_t>& wanted);
/// Errors: kBadData for anything but a matrix that has numbers.
void require_matrix(const StoredTensor& tensor);
[[noreturn]] void refuse_tensor(const StoredTensor& tensor, const std::string& what);

/// Numbers of an F32, F16 or BF16 tensor.
class StoredFloats {
 public:
  StoredFloats() = default;
  explicit StoredFloats(StoredTensor tensor);
  float at(std::int64_t i) const noexcept {
    if (dtype_ == DType::kF32) return tensor_.at<float>(i);
    const auto bits = tensor_.at<std::uint16_t>(i);
    return dtype_ == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
  const StoredTensor& tensor() const noexcept { return tensor_; }

 private:
  StoredTensor tensor_;
  DType dtype_ = DType::kF32;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/dtype.h"

namespace llm_tp {

/// A type of GGUF's tensors, as ggml numbers them.
struct GgmlType {
  std::uint32_t number;
  std::string_view name;
  int elements, bytes;  // of a block
};

/// nullptr for a number that has no name here.
const GgmlType* ggml_type(std::uint32_t number) noexcept;
/// "Q6_K" of a ggml type's number; "type 99" where it has no name here.
std::string ggml_type_name(std::uint32_t type);
/// The types that weights can be of; nullopt for others, such as the 1 to 3 bit IQ types.
std::optional<DType> dtype_of_ggml(std::uint32_t type) noexcept;

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace llm_tp {

/// How numbers lie in memory or in a file. Block formats (ggml's) hold 32 neighbouring numbers of a row:
///   q8_0  f16 d, 32 x int8 q             w = d * q
///   q4_0  f16 d, 16 bytes                w = d * (q - 8); byte i: low nibble number i, high nibble number i
///   + 16 q4_1  f16 d, f16 m, 16 bytes         w = d * q + m;   nibbles as q4_0
enum class DType : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kI32 };

/// Numbers that share one block: 1 for plain types, 32 for block formats.
int block_elements(DType dtype) noexcept;
/// Bytes of one block.
int block_bytes(DType dtype) noexcept;
/// Bytes of `elements` numbers, a multiple of block_elements.
std::int64_t row_bytes(DType dtype, std::int64_t elements) noexcept;
inline bool is_quantised(DType dtype) noexcept { return block_elements(dtype) > 1; }
/// "f32", "bf16", "q8_0"…
std::string_view name_of(DType dtype) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

float f16_to_f32(std::uint16_t bits) noexcept;
std::uint16_t f32_to_f16(float value) noexcept;  // to nearest, ties to even
inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return __builtin_bit_cast(float, std::uint32_t{bits} << 16);
}
std::uint16_t f32_to_bf16(float value) noexcept;  // to nearest, ties to even; NaN stays NaN

}  // namespace llm_tp

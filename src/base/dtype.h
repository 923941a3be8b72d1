#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace llm_tp {

/// How numbers lie in memory or in a file: plain ones, or blocks of neighbouring numbers of a row that share
/// scales. The layout of each block format stands in base/blocks; docs/formats.md tells which file has which.
///   q8_0 … mxfp4     GGUF's blocks, as ggml lays them out
///   int4_gN, int8_gN, fp8_gN
///                    N integers (or e4m3 numbers) with one f32 scale and one zero point: what GPTQ, AWQ and
///                    compressed-tensors checkpoints hold, transposed into rows as they are read
///   int4_columns, int8_columns
///                    an integer, scale and zero point a column, few of which differ (GPTQ with act order)
///   int8, fp8        one byte a number, an integer or e4m3; numbers share scales that lie elsewhere (KV
///   caches:
///                    kernels/vector_codes.h)
enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kI32,
  kQ5_0,
  kQ5_1,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
  kIQ4NL,
  kIQ4XS,
  kMXFP4,
  kInt4G32,
  kInt4G64,
  kInt4G128,
  kInt8G32,
  kInt8G64,
  kInt8G128,
  kFp8G32,
  kFp8G64,
  kFp8G128,
  kInt4Columns,
  kInt8Columns,
  kInt8,
  kE4M3,
};
inline constexpr int kDTypes = static_cast<int>(DType::kE4M3) + 1;

/// Numbers that share one block: 1 for plain types, 32 to 256 for block formats.
int block_elements(DType dtype) noexcept;
/// Bytes of one block.
int block_bytes(DType dtype) noexcept;
/// Bytes of `elements` numbers, a multiple of block_elements.
std::int64_t row_bytes(DType dtype, std::int64_t elements) noexcept;
inline bool is_quantised(DType dtype) noexcept { return block_elements(dtype) > 1; }
inline bool has_column_scales(DType dtype) noexcept {
  return dtype == DType::kInt4Columns || dtype == DType::kInt8Columns;
}
inline bool is_fp8(DType dtype) noexcept {
  return dtype == DType::kFp8G32 || dtype == DType::kFp8G64 || dtype == DType::kFp8G128;
}
/// "f32", "bf16", "q8_0"…
std::string_view name_of(DType dtype) noexcept;
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

float f16_to_f32(std::uint16_t bits) noexcept;
std::uint16_t f32_to_f16(float value) noexcept;  // to nearest, ties to even
inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return __builtin_bit_cast(float, std::uint32_t{bits} << 16);
}
std::uint16_t f32_to_bf16(float value) noexcept;  // to nearest, ties to even; NaN stays NaN
/// An 8-bit float with 4 bits of exponent, 3 of mantissa, no infinity (Micikevicius et al. 2022, e4m3fn).
float e4m3_to_f32(std::uint8_t bits) noexcept;
/// To nearest, ties to even; beyond 448, infinity too, the largest number, 448; NaN stays NaN.
std::uint8_t f32_to_e4m3(float value) noexcept;

}  // namespace llm_tp

#include "base/dtype.h"

#include <array>
#include <bit>

namespace llm_tp {
namespace {

struct Traits {
  DType dtype;
  std::string_view name;
  int elements, bytes;
};
constexpr std::array<Traits, kDTypes> kTraits{{
    {DType::kF32, "f32", 1, 4},
    {DType::kF16, "f16", 1, 2},
    {DType::kBF16, "bf16", 1, 2},
    {DType::kQ8_0, "q8_0", 32, 34},
    {DType::kQ4_0, "q4_0", 32, 18},
    {DType::kQ4_1, "q4_1", 32, 20},
    {DType::kI32, "i32", 1, 4},
    {DType::kQ5_0, "q5_0", 32, 22},
    {DType::kQ5_1, "q5_1", 32, 24},
    {DType::kQ2K, "q2_k", 256, 84},
    {DType::kQ3K, "q3_k", 256, 110},
    {DType::kQ4K, "q4_k", 256, 144},
    {DType::kQ5K, "q5_k", 256, 176},
    {DType::kQ6K, "q6_k", 256, 210},
    {DType::kIQ4NL, "iq4_nl", 32, 18},
    {DType::kIQ4XS, "iq4_xs", 256, 136},
    {DType::kMXFP4, "mxfp4", 32, 17},
    {DType::kInt4G32, "int4_g32", 32, 22},
    {DType::kInt4G64, "int4_g64", 64, 38},
    {DType::kInt4G128, "int4_g128", 128, 70},
    {DType::kInt8G32, "int8_g32", 32, 38},
    {DType::kInt8G64, "int8_g64", 64, 70},
    {DType::kInt8G128, "int8_g128", 128, 134},
    {DType::kFp8G32, "fp8_g32", 32, 36},
    {DType::kFp8G64, "fp8_g64", 64, 68},
    {DType::kFp8G128, "fp8_g128", 128, 132},
    {DType::kInt4Columns, "int4_columns", 1, 7},
    {DType::kInt8Columns, "int8_columns", 1, 7},
    {DType::kInt8, "int8", 1, 1},
    {DType::kE4M3, "fp8", 1, 1},
}};
constexpr bool in_order_of_dtypes() {
  for (std::size_t i = 0; i < kTraits.size(); ++i)
    if (static_cast<std::size_t>(kTraits[i].dtype) != i) return false;
  return true;
}
static_assert(in_order_of_dtypes());
const Traits& traits(DType dtype) { return kTraits[static_cast<std::size_t>(dtype)]; }

}  // namespace

int block_elements(DType dtype) noexcept { return traits(dtype).elements; }
int block_bytes(DType dtype) noexcept { return traits(dtype).bytes; }
std::int64_t row_bytes(DType dtype, std::int64_t elements) noexcept {
  return elements / traits(dtype).elements * traits(dtype).bytes;
}
std::string_view name_of(DType dtype) noexcept { return traits(dtype).name; }
std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const Traits& t : kTraits)
    if (t.name == name) return t.dtype;
  return std::nullopt;
}

float f16_to_f32(std::uint16_t bits) noexcept {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude << 13));
  // Scaling by 2^112 turns f16's exponent bias into f32's and makes subnormal numbers normal.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

std::uint16_t f32_to_f16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;   // NaN
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {                        // subnormal in f16: let the f32 adder round at 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u);
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return sign | static_cast<std::uint16_t>((rounded - 0x38000000u) >> 13);
}

float e4m3_to_f32(std::uint8_t bits) noexcept {
  const std::uint32_t sign = std::uint32_t{bits & 0x80u} << 24;
  const std::uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  // As f16_to_f32: the exponent's bias is 7 instead of 127.
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

std::uint8_t f32_to_e4m3(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fu;   // NaN
  if (magnitude >= 0x43e00000u) return sign | 0x7eu;  // 448 and beyond
  if (magnitude < 0x3c800000u) {                      // subnormal in e4m3: let the f32 adder round at 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return sign | static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(shifted) - 0x46800000u);
  }
  const std::uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return sign | static_cast<std::uint8_t>((rounded - 0x3c000000u) >> 20);
}

std::uint16_t f32_to_bf16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace llm_tp

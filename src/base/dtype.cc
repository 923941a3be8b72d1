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
constexpr std::array<Traits, 7> kTraits{{{DType::kF32, "f32", 1, 4},
                                         {DType::kF16, "f16", 1, 2},
                                         {DType::kBF16, "bf16", 1, 2},
                                         {DType::kQ8_0, "q8_0", 32, 34},
                                         {DType::kQ4_0, "q4_0", 32, 18},
                                         {DType::kQ4_1, "q4_1", 32, 20},
                                         {DType::kI32, "i32", 1, 4}}};
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

std::uint16_t f32_to_bf16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace llm_tp

#pragma once
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/dtype.h"

namespace llm_tp::testing {

inline bool is_int4(DType dtype) {
  return dtype == DType::kInt4G32 || dtype == DType::kInt4G64 || dtype == DType::kInt4G128 ||
         dtype == DType::kInt4Columns;
}

/// Gives a block of random bytes ordinary numbers for factors.
inline void set_factors(DType dtype, std::byte* at, std::mt19937& random) {
  const auto factor = [&] { return std::ldexp(1.0f + static_cast<float>(random() % 1024) / 1024, -4); };
  const auto half = [&](int i) {
    const std::uint16_t bits = f32_to_f16(factor());
    std::memcpy(at + i, &bits, 2);
  };
  switch (dtype) {
    case DType::kQ2K:
      return half(80), half(82);
    case DType::kQ3K:
      return half(108);
    case DType::kQ6K:
      return half(208);
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4K:
    case DType::kQ5K:
      return half(0), half(2);
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kIQ4NL:
    case DType::kIQ4XS:
      return half(0);
    case DType::kMXFP4:
      at[0] = static_cast<std::byte>(118 + random() % 8);
      return;
    default:
      break;
  }
  const float d = factor();
  std::memcpy(at, &d, 4);
  if (is_fp8(dtype)) {
    for (int i = 4; i < block_bytes(dtype); ++i)
      if ((at[i] & std::byte{0x7f}) == std::byte{0x7f}) at[i] = std::byte{0};  // NaN
    return;
  }
  const auto offset = static_cast<std::int16_t>(is_int4(dtype) ? -static_cast<int>(random() % 17)
                                                               : 128 - static_cast<int>(random() % 257));
  std::memcpy(at + 4, &offset, 2);
  if (dtype == DType::kInt4Columns) at[6] &= std::byte{15};
}

/// `elements` numbers in blocks of this dtype: random bits with ordinary factors.
inline std::vector<std::byte> random_blocks(DType dtype, std::int64_t elements, std::mt19937& random) {
  std::vector<std::byte> blocks(static_cast<std::size_t>(row_bytes(dtype, elements)));
  for (std::byte& b : blocks) b = static_cast<std::byte>(random());
  for (std::size_t at = 0; at < blocks.size(); at += static_cast<std::size_t>(block_bytes(dtype)))
    set_factors(dtype, blocks.data() + at, random);
  return blocks;
}

}  // namespace llm_tp::testing

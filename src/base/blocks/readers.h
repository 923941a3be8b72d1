#pragma once
#include <cstring>

#include "base/blocks/block.h"

// What the files of the formats share, and their entry points.

namespace llm_tp::blocks {

template <class T>
T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline float half(const std::byte* from) noexcept { return f16_to_f32(load<std::uint16_t>(from)); }
inline unsigned byte(const std::byte* from) noexcept { return std::to_integer<unsigned>(*from); }

inline void set(Block& block, int i, int code) noexcept {
  block.code[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(code);
}
inline void set_scale(Block& block, int run, int scale) noexcept {
  block.scale[static_cast<std::size_t>(run)] = static_cast<std::int8_t>(scale);
}

/// 16 bytes: the low nibbles are numbers 0 to 15, the high ones 16 to 31.
template <class Use>
void each_nibble(const std::byte* from, const Use& use) {
  for (int i = 0; i < 16; ++i) {
    use(i, static_cast<int>(byte(from + i) & 15u));
    use(i + 16, static_cast<int>(byte(from + i) >> 4));
  }
}

void simple(DType dtype, const std::byte* from, Block& block);    // q8_0, q4_0, q4_1, q5_0, q5_1
void k_quant(DType dtype, const std::byte* from, Block& block);   // q2_k to q6_k
void by_table(DType dtype, const std::byte* from, Block& block);  // iq4_nl, iq4_xs, mxfp4
void group(DType dtype, const std::byte* from, Block& block);     // intN_gN, fp8_gN, intN_columns

}  // namespace llm_tp::blocks

#include "base/blocks/readers.h"

// One scale, or a scale and a minimum, for 32 numbers:
//   q8_0  f16 d, 32 x int8 q                          w = d * q
//   q4_0  f16 d, 16 bytes of nibbles                  w = d * (q - 8)
//   q4_1  f16 d, f16 m, 16 bytes of nibbles           w = d * q + m
//   q5_0  f16 d, u32 fifth bits, 16 bytes of nibbles  w = d * (q - 16)
//   q5_1  f16 d, f16 m, u32 fifth bits, nibbles       w = d * q + m
// Nibbles: byte i holds number i low and number i + 16 high; bit i of the fifth bits belongs to number i.

namespace llm_tp::blocks {

void simple(DType dtype, const std::byte* from, Block& block) {
  block.d = half(from);
  from += 2;
  if (dtype == DType::kQ8_0) {
    for (int i = 0; i < 32; ++i) set(block, i, load<std::int8_t>(from + i));
    return;
  }
  if (dtype == DType::kQ4_1 || dtype == DType::kQ5_1) {
    block.has_minima = true;
    block.dmin = -half(from);
    from += 2;
  }
  std::uint32_t fifth = 0;
  const bool five = dtype == DType::kQ5_0 || dtype == DType::kQ5_1;
  if (five) {
    fifth = load<std::uint32_t>(from);
    from += 4;
  }
  if (!block.has_minima) block.offset = five ? -16 : -8;
  each_nibble(from, [&](int i, int q) { set(block, i, q | static_cast<int>(fifth >> i & 1u) << 4); });
}

}  // namespace llm_tp::blocks

#include <bit>

#include "base/blocks/readers.h"

// Nibbles that index a table of 16 values:
//   iq4_nl  f16 d, 16 bytes of nibbles (32 numbers)                               w = d * table[q]
//   iq4_xs  f16 d, u16 high and 4 bytes low bits of 6-bit scales - 32, 128 bytes  w = d * scale * table[q]
//           of nibbles: 256 numbers in runs of 32
//   mxfp4   u8 exponent e, 16 bytes of nibbles (OCP microscaling formats 1.0)     w = 2^(e - 127) * e2m1[q]

namespace llm_tp::blocks {

void by_table(DType dtype, const std::byte* from, Block& block) {
  const std::int8_t* table = dtype == DType::kMXFP4 ? kE2m1Values : kNonLinearValues;
  const auto nibbles = [&](const std::byte* at, int first) {
    each_nibble(at, [&](int i, int q) { set(block, first + i, table[q]); });
  };
  if (dtype == DType::kMXFP4) {
    // The table is doubled, so the scale is halved: 2^(e - 128), which is subnormal for e below 2.
    const unsigned e = byte(from);
    block.d = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    return nibbles(from + 1, 0);
  }
  block.d = half(from);
  if (dtype == DType::kIQ4NL) return nibbles(from + 2, 0);
  block.run = 32;
  const unsigned high = load<std::uint16_t>(from + 2);
  for (int r = 0; r < 8; ++r) {
    const unsigned low = byte(from + 4 + r / 2) >> (r % 2 * 4) & 15u;
    set_scale(block, r, static_cast<int>(low | (high >> (2 * r) & 3u) << 4) - 32);
    nibbles(from + 8 + 16 * r, 32 * r);
  }
}

}  // namespace llm_tp::blocks

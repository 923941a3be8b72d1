#include "base/blocks/readers.h"

// ggml's K quants: 256 numbers, f16 factors of the block, small integer scales of its runs.
//   q2_k  16 bytes (scale low, minimum high nibble; a run of 16 each), 64 bytes of 2-bit codes, f16 d, f16
//   dmin q3_k  32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales - 32 (runs of 16),
//   f16 d;
//         w = d * scale * (q - 4)
//   q4_k  f16 d, f16 dmin, 12 bytes of 6-bit scales and minima (runs of 32), 128 bytes of nibbles
//   q5_k  as q4_k with 32 bytes of fifth bits before the nibbles
//   q6_k  128 bytes of low nibbles, 64 bytes of high bit pairs, 16 x int8 scales (runs of 16), f16 d;
//         w = d * scale * (q - 32)

namespace llm_tp::blocks {
namespace {

/// Number i of 2-bit codes: 128 numbers lie in 32 bytes, byte j holding numbers j, j + 32, j + 64, j + 96.
int two_bits(const std::byte* codes, int i) {
  return static_cast<int>(byte(codes + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3u);
}
/// Number i of bits: byte i % 32 holds numbers i % 32 + 32 b in its bit b.
int one_bit(const std::byte* bits, int i) { return static_cast<int>(byte(bits + i % 32) >> (i / 32) & 1u); }
/// Number i of nibbles: 64 numbers lie in 32 bytes, byte j holding numbers j low and j + 32 high.
int nibble(const std::byte* codes, int i) {
  return static_cast<int>(byte(codes + i / 64 * 32 + i % 32) >> (i % 64 / 32 * 4) & 15u);
}

void q2_k(const std::byte* from, Block& block) {
  block.run = 16;
  block.has_minima = true;
  block.d = half(from + 80);
  block.dmin = half(from + 82);
  for (int r = 0; r < 16; ++r) {
    set_scale(block, r, static_cast<int>(byte(from + r) & 15u));
    block.minimum[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(byte(from + r) >> 4);
  }
  for (int i = 0; i < 256; ++i) set(block, i, two_bits(from + 16, i));
}

void q3_k(const std::byte* from, Block& block) {
  block.run = 16;
  block.offset = -4;
  block.d = half(from + 108);
  const std::byte* scales = from + 96;
  for (int r = 0; r < 16; ++r) {
    const unsigned low = byte(scales + r % 8) >> (r < 8 ? 0 : 4) & 15u;
    const unsigned high = byte(scales + 8 + r % 4) >> (r / 4 * 2) & 3u;
    set_scale(block, r, static_cast<int>(low | high << 4) - 32);
  }
  for (int i = 0; i < 256; ++i) set(block, i, two_bits(from + 32, i) | one_bit(from, i) << 2);
}

/// Eight 6-bit scales and minima in 12 bytes; the upper four have their high bits in the bytes of the lower.
void scales_and_minima(const std::byte* from, Block& block) {
  block.has_minima = true;
  for (int r = 0; r < 8; ++r) {
    const unsigned scale =
        r < 4 ? byte(from + r) & 63u : (byte(from + r + 4) & 15u) | (byte(from + r - 4) >> 6) << 4;
    const unsigned minimum =
        r < 4 ? byte(from + r + 4) & 63u : byte(from + r + 4) >> 4 | (byte(from + r) >> 6) << 4;
    set_scale(block, r, static_cast<int>(scale));
    block.minimum[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(minimum);
  }
}

void q4_k_or_q5_k(bool five, const std::byte* from, Block& block) {
  block.run = 32;
  block.d = half(from);
  block.dmin = half(from + 2);
  scales_and_minima(from + 4, block);
  const std::byte* fifth = from + 16;
  const std::byte* codes = from + (five ? 48 : 16);
  for (int i = 0; i < 256; ++i) set(block, i, nibble(codes, i) | (five ? one_bit(fifth, i) << 4 : 0));
}

void q6_k(const std::byte* from, Block& block) {
  block.run = 16;
  block.d = half(from + 208);
  for (int r = 0; r < 16; ++r) set_scale(block, r, load<std::int8_t>(from + 192 + r));
  for (int i = 0; i < 256; ++i) {
    // 128 numbers in 64 bytes of nibbles: byte j holds numbers j low and j + 64 high.
    const unsigned low = byte(from + i / 128 * 64 + i % 64) >> (i % 128 / 64 * 4) & 15u;
    set(block, i, static_cast<int>(low) + (two_bits(from + 128, i) << 4) - 32);
  }
}

}  // namespace

void k_quant(DType dtype, const std::byte* from, Block& block) {
  if (dtype == DType::kQ2K) return q2_k(from, block);
  if (dtype == DType::kQ3K) return q3_k(from, block);
  if (dtype == DType::kQ6K) return q6_k(from, block);
  q4_k_or_q5_k(dtype == DType::kQ5K, from, block);
}

}  // namespace llm_tp::blocks

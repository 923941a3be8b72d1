#include "base/blocks/readers.h"

// What quantised safetensors checkpoints become when their rows are read; no file has these layouts.
//   int4_gN       f32 scale, int16 offset, N / 2 bytes of nibbles      w = scale * (q + offset)
//                 (of each 32 numbers: 16 bytes, number i low and i + 16 high)
//   int8_gN       f32 scale, int16 offset, N x int8 q                  w = scale * (q + offset)
//   fp8_gN        f32 scale, N x e4m3                                 w = scale * q
//   intB_columns  f32 scale, int16 offset, int8 q: one column          w = scale * (q + offset)

namespace llm_tp::blocks {

void group(DType dtype, const std::byte* from, Block& block) {
  block.d = load<float>(from);
  from += 4;
  if (!is_fp8(dtype)) {
    block.offset = load<std::int16_t>(from);
    from += 2;
  }
  if (dtype == DType::kInt4G32 || dtype == DType::kInt4G64 || dtype == DType::kInt4G128) {
    for (int first = 0; first < block.elements; first += 32, from += 16)
      each_nibble(from, [&](int i, int q) { set(block, first + i, q); });
    return;
  }
  for (int i = 0; i < block.elements; ++i) set(block, i, load<std::int8_t>(from + i));
}

}  // namespace llm_tp::blocks

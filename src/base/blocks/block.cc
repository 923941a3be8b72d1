#include "base/blocks/block.h"

#include <algorithm>
#include <string>

#include "base/blocks/readers.h"
#include "base/error.h"

namespace llm_tp {

void take_apart(DType dtype, const std::byte* from, Block& block) {
  block.elements = block_elements(dtype);
  block.run = std::max(block.elements, 32);
  block.has_minima = false;
  block.offset = 0;
  block.scale.fill(1);
  block.minimum.fill(1);
  switch (dtype) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
      return blocks::simple(dtype, from, block);
    case DType::kQ2K:
    case DType::kQ3K:
    case DType::kQ4K:
    case DType::kQ5K:
    case DType::kQ6K:
      return blocks::k_quant(dtype, from, block);
    case DType::kIQ4NL:
    case DType::kIQ4XS:
    case DType::kMXFP4:
      return blocks::by_table(dtype, from, block);
    case DType::kInt4G32:
    case DType::kInt4G64:
    case DType::kInt4G128:
    case DType::kInt8G32:
    case DType::kInt8G64:
    case DType::kInt8G128:
    case DType::kFp8G32:
    case DType::kFp8G64:
    case DType::kFp8G128:
    case DType::kInt4Columns:
    case DType::kInt8Columns:
      return blocks::group(dtype, from, block);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kI32:
    case DType::kInt8:
    case DType::kE4M3:
      break;
  }
  throw_bug("dtype", __FILE__, __LINE__, std::string(name_of(dtype)).append(" has no blocks"));
}

void widen(DType dtype, const Block& block, float* out) {
  const bool fp8 = is_fp8(dtype);
  for (int i = 0; i < block.elements; ++i) {
    const std::int8_t code = block.code[static_cast<std::size_t>(i)];
    const float value =
        fp8 ? e4m3_to_f32(static_cast<std::uint8_t>(code)) : static_cast<float>(code + block.offset);
    out[i] = block.scale_of(i) * value;
    if (block.has_minima) out[i] -= block.minimum_of(i);
  }
}

}  // namespace llm_tp

#include "kernels/reference/widen.h"

#include <cstring>

#include "base/blocks/block.h"

namespace llm_tp {
namespace {

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

double exact(DType dtype, const Block& block, int i) {
  const std::int8_t code = block.code[static_cast<std::size_t>(i)];
  const double value = is_fp8(dtype) ? e4m3_to_f32(static_cast<std::uint8_t>(code)) : code + block.offset;
  return block.scale_of(i) * value - (block.has_minima ? block.minimum_of(i) : 0.0);
}

}  // namespace

std::vector<double> widen(DType dtype, const std::byte* from, std::int64_t elements) {
  std::vector<double> out(static_cast<std::size_t>(elements));
  Block block;
  for (std::int64_t i = 0; i < elements; i += block_elements(dtype), from += block_bytes(dtype)) {
    double* to = out.data() + i;
    switch (dtype) {
      case DType::kF32:
        *to = read<float>(from);
        break;
      case DType::kF16:
        *to = f16_to_f32(read<std::uint16_t>(from));
        break;
      case DType::kBF16:
        *to = bf16_to_f32(read<std::uint16_t>(from));
        break;
      default:
        take_apart(dtype, from, block);
        for (int j = 0; j < block.elements; ++j) to[j] = exact(dtype, block, j);
    }
  }
  return out;
}

}  // namespace llm_tp

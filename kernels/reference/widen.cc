#include "kernels/reference/widen.h"

#include <cstring>
#include <string>

#include "base/error.h"

namespace llm_tp {
namespace {

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
double half(const std::byte* from) { return f16_to_f32(read<std::uint16_t>(from)); }

// One block of 32 nibbles: w = d * (q - offset) + minimum.
void widen_nibbles(double* out, const std::byte* nibbles, double d, int offset, double minimum) {
  for (int i = 0; i < 16; ++i) {
    const int byte = std::to_integer<int>(nibbles[i]);
    out[i] = d * ((byte & 15) - offset) + minimum;
    out[i + 16] = d * ((byte >> 4) - offset) + minimum;
  }
}

}  // namespace

std::vector<double> widen(DType dtype, const std::byte* from, std::int64_t elements) {
  std::vector<double> out(static_cast<std::size_t>(elements));
  const std::int64_t blocks = elements / block_elements(dtype);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* at = from + b * block_bytes(dtype);
    double* to = out.data() + b * block_elements(dtype);
    switch (dtype) {
      case DType::kF32:
        *to = read<float>(at);
        break;
      case DType::kF16:
        *to = half(at);
        break;
      case DType::kBF16:
        *to = bf16_to_f32(read<std::uint16_t>(at));
        break;
      case DType::kQ8_0:
        for (int i = 0; i < 32; ++i) to[i] = half(at) * read<std::int8_t>(at + 2 + i);
        break;
      case DType::kQ4_0:
        widen_nibbles(to, at + 2, half(at), 8, 0.0);
        break;
      case DType::kQ4_1:
        widen_nibbles(to, at + 4, half(at), 0, half(at + 2));
        break;
      default:
        LLM_TP_CHECK(false, "no weight has dtype " + std::string(name_of(dtype)));
    }
  }
  return out;
}

}  // namespace llm_tp

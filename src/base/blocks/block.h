#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace llm_tp {

/// A block of a quantised format, taken apart. Its numbers are
///   w[i] = (d * scale[i / run]) * (code[i] + offset) - dmin * minimum[i / run]
/// evaluated in f32 from left to right; d * scale and dmin * minimum are exact there. Without minima nothing
/// is subtracted. This is how gguf-py and ggml dequantise, to the bit.
struct Block {
  static constexpr int kMostElements = 256, kMostRuns = 16;
  int elements = 0;
  int run = 32;  // neighbours that share scale and minimum: 16, or 32 and more
  float d = 0.0f, dmin = 0.0f;
  bool has_minima = false;
  int offset = 0;  // minus the zero point
  std::array<std::int8_t, kMostRuns> scale{};
  std::array<std::uint8_t, kMostRuns> minimum{};
  std::array<std::int8_t, kMostElements> code{};  // fp8: the bits

  float scale_of(int i) const noexcept { return d * static_cast<float>(scale[index(i)]); }
  float minimum_of(int i) const noexcept { return dmin * static_cast<float>(minimum[index(i)]); }

 private:
  std::size_t index(int i) const noexcept { return static_cast<std::size_t>(i / run); }
};

/// Takes one block apart; any alignment. The dtype is one of blocks or has scales by column.
void take_apart(DType dtype, const std::byte* from, Block& block);

/// The values that the codes of iq4_nl and iq4_xs stand for, in the order of the codes, and those of mxfp4,
/// doubled.
inline constexpr std::int8_t kNonLinearValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr std::int8_t kE2m1Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// w[0, block.elements) of the block.
void widen(DType dtype, const Block& block, float* out);

}  // namespace llm_tp

#pragma once
#include <cmath>
#include <cstring>
#include <vector>

#include "attention_case.h"
#include "kernels/cpu/instruction_set.h"

namespace llm_tp::testing {

/// A weight matrix in file layout with random blocks, and its products in scalars: the arithmetic that
/// docs/numerics.md and kernels/cpu/linear.h state, which every kernel must give to the bit.
struct LinearCase {
  DType dtype = DType::kF32;
  std::int64_t rows = 1;
  LeafCut cut;
  unsigned seed = 1;

  std::vector<std::byte> weights() const {
    const std::int64_t stored = row_bytes(dtype, cut.columns);
    std::vector<std::byte> out(static_cast<std::size_t>(rows * stored));
    std::mt19937 bits(seed);
    if (dtype == DType::kF32) {
      const std::vector<float> values = random_floats(out.size() / 4, seed);
      std::memcpy(out.data(), values.data(), out.size());
      return out;
    }
    for (std::byte& b : out) b = std::byte(bits());
    // Half-precision numbers at the places of scales and plain weights: any sign and fraction, exponents
    // around one.
    const auto bytes = static_cast<std::size_t>(block_bytes(dtype));
    for (std::size_t block = 0; block < out.size(); block += bytes) {
      const std::size_t halves = !is_quantised(dtype) ? bytes / 2 : dtype == DType::kQ4_1 ? 2 : 1;
      for (std::size_t i = 0; i < halves; ++i) {
        const std::uint16_t half =
            dtype == DType::kBF16 ? f32_to_bf16(random(bits)) : f32_to_f16(random(bits));
        std::memcpy(out.data() + block + 2 * i, &half, 2);
      }
    }
    return out;
  }

  std::unique_ptr<PackedWeight> pack(CpuBackend& backend, Range leaves) const {
    const std::vector<std::byte> all = weights();
    const Range columns = cut.columns_of(leaves);
    const auto stored = static_cast<std::size_t>(row_bytes(dtype, cut.columns));
    const auto skip = static_cast<std::size_t>(row_bytes(dtype, columns.begin));
    const auto part = static_cast<std::size_t>(row_bytes(dtype, columns.size()));
    return backend.pack({dtype, rows, cut, leaves}, [&](Range some, std::byte* out) {
      for (std::int64_t r = some.begin; r < some.end; ++r, out += part)
        std::memcpy(out, all.data() + static_cast<std::size_t>(r) * stored + skip, part);
    });
  }

  /// A weight as its quant and the numbers that scale it: w = d * q + m, or w = d where the dtype is plain.
  struct Weight {
    float d = 0, m = 0;
    int q = 1;
    float value(DType dtype) const {
      if (!is_quantised(dtype)) return d;
      const float scaled = d * static_cast<float>(q);
      return dtype == DType::kQ4_1 ? scaled + m : scaled;
    }
  };
  Weight at(const std::vector<std::byte>& all, std::int64_t row, std::int64_t k) const {
    const std::byte* block =
        all.data() + row * row_bytes(dtype, cut.columns) + k / block_elements(dtype) * block_bytes(dtype);
    const auto half = [&](int i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, block + 2 * i, 2);
      return dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    };
    Weight w;
    if (dtype == DType::kF32) {
      std::memcpy(&w.d, block, 4);
      return w;
    }
    w.d = half(0);
    if (!is_quantised(dtype)) return w;
    if (dtype == DType::kQ4_1) w.m = half(1);
    const std::int64_t i = k % 32;
    if (dtype == DType::kQ8_0) {
      w.q = static_cast<std::int8_t>(block[2 + i]);
    } else {
      const auto byte = static_cast<int>(block[(dtype == DType::kQ4_1 ? 4 : 2) + i % 16]);
      w.q = (i < 16 ? byte & 15 : byte >> 4) - (dtype == DType::kQ4_0 ? 8 : 0);
    }
    return w;
  }

  /// The sums at the roots of `leaves`, [R][T][N]; x [T, all columns].
  std::vector<float> in_scalars(const std::vector<float>& x, std::int64_t tokens, Range leaves,
                                ActivationKind activations) const {
    const std::vector<std::byte> all = weights();
    std::vector<float> out;
    for (const TreeRoot& root : roots_of(leaves))
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t n = 0; n < rows; ++n)
          out.push_back(subtree(all, n, x.data() + t * cut.columns, root.level, root.begin, activations));
    return out;
  }

 private:
  static float random(std::mt19937& bits) {
    const float fraction = 1.0f + static_cast<float>(bits() % 1024) / 1024.0f;
    return std::ldexp(bits() % 2 == 0 ? fraction : -fraction, static_cast<int>(bits() % 4) - 2);
  }

  float subtree(const std::vector<std::byte>& all, std::int64_t n, const float* x, int level,
                std::int64_t first, ActivationKind activations) const {
    if (level == 0) return leaf(all, n, x, static_cast<int>(first), activations);
    const std::int64_t half = std::int64_t{1} << (level - 1);
    const float left = subtree(all, n, x, level - 1, first, activations);
    return left + subtree(all, n, x, level - 1, first + half, activations);
  }

  float leaf(const std::vector<std::byte>& all, std::int64_t n, const float* x, int index,
             ActivationKind activations) const {
    float sum = 0;
    const Range columns{cut.begin(index), cut.begin(index + 1)};
    if (!is_quantised(dtype) || activations == ActivationKind::kF32) {
      for (std::int64_t k = columns.begin; k < columns.end; ++k)
        sum = std::fma(at(all, n, k).value(dtype), x[k], sum);
      return sum;
    }
    for (std::int64_t b = columns.begin; b < columns.end; b += 32) {
      float largest = 0;
      for (std::int64_t k = b; k < b + 32; ++k) largest = std::max(largest, std::fabs(x[k]));
      const float dx = largest / 127.0f, inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
      int products = 0, quants = 0;
      for (std::int64_t k = b; k < b + 32; ++k) {
        const int xq = static_cast<int>(std::nearbyint(x[k] * inverse));
        products += at(all, n, k).q * xq;
        quants += xq;
      }
      const Weight w = at(all, n, b);
      sum = std::fma(static_cast<float>(products), w.d * dx, sum);
      if (dtype == DType::kQ4_1) sum = std::fma(w.m, dx * static_cast<float>(quants), sum);
    }
    return sum;
  }
};

/// Runs the body on every instruction set of this processor and goes back to the best.
template <class Body>
void on_every_instruction_set(const Body& body) {
  for (const InstructionSet set : instruction_sets()) {
    use_instruction_set(set);
    body(set);
  }
}

}  // namespace llm_tp::testing

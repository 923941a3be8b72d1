#include <gtest/gtest.h>

#include <limits>

#include "kernels/cpu/instruction_set.h"
#include "linear_case.h"

namespace llm_tp::testing {
namespace {

constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                                  DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};
constexpr ActivationKind kActivations[] = {ActivationKind::kInt8, ActivationKind::kF32};

CpuBackend backend_of(int threads, ActivationKind activations) {
  return CpuBackend({.threads = threads, .activations = activations, .oversubscribed = true});
}

/// linear_roots, or linear where there is a bias, over strided rows of x.
std::vector<float> product(CpuBackend& backend, const PackedWeight& w, const std::vector<float>& x,
                           std::int64_t tokens, std::int64_t stride, std::int64_t first_column,
                           std::vector<float>* bias = nullptr) {
  const auto roots = static_cast<std::int64_t>(w.roots().size());
  std::vector<float> out(static_cast<std::size_t>(roots * tokens * w.spec().rows), -1.0f);
  const TensorView view = TensorView::matrix(const_cast<float*>(x.data()), tokens, stride)
                              .column_range(first_column, first_column + w.spec().columns());
  const TensorView result = TensorView::matrix(out.data(), roots * tokens, w.spec().rows);
  if (bias != nullptr)
    backend.linear(result, view, w, TensorView::vector(bias->data(), w.spec().rows));
  else
    backend.linear_roots(result, view, w);
  return out;
}

TEST(Linear, EveryKernelGivesTheBitsOfTheScalarArithmetic) {
  for (const ActivationKind activations : kActivations) {
    for (const DType dtype : kWeightTypes) {
      // 77 rows: no whole panel at the end. Four leaves of unequal length.
      const LinearCase c{dtype, 77, {416, 32, 4}, 7};
      const std::vector<float> x = random_floats(67 * 416, 3, 4.0f);
      const auto expected = bits_of(c.in_scalars(x, 67, {0, 4}, activations));
      on_every_instruction_set([&](InstructionSet set) {
        CpuBackend one = backend_of(1, activations), two = backend_of(2, activations);
        const auto packed = c.pack(one, {0, 4});
        // All the ways to cut rows into tiles: a row has the same bits in each.
        for (const std::int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17, 31, 67}) {
          const std::vector<std::uint32_t> some(expected.begin(), expected.begin() + tokens * 77);
          for (CpuBackend* backend : {&one, &two})
            ASSERT_EQ(bits_of(product(*backend, *packed, x, tokens, 416, 0)), some)
                << name_of(set) << " " << name_of(dtype) << ", " << tokens << " rows, int8 "
                << (activations == ActivationKind::kInt8);
        }
      });
    }
  }
}

TEST(Linear, RootsOfARunOfLeavesAreThoseOfTheWholeTree) {
  on_every_instruction_set([](InstructionSet set) {
    for (const ActivationKind activations : kActivations) {
      for (const DType dtype : kWeightTypes) {
        const LinearCase c{dtype, 40, {352, 32, 8}, 9};
        CpuBackend backend = backend_of(2, activations);
        const std::vector<float> x = random_floats(5 * 352, 4);
        for (const Range leaves : {Range{0, 5}, Range{3, 8}, Range{1, 2}, Range{1, 7}}) {
          const auto packed = c.pack(backend, leaves);
          EXPECT_EQ(
              bits_of(product(backend, *packed, x, 5, 352, c.cut.begin(static_cast<int>(leaves.begin)))),
              bits_of(c.in_scalars(x, 5, leaves, activations)))
              << name_of(set) << " " << name_of(dtype) << ", leaves from " << leaves.begin;
        }
      }
    }
  });
}

TEST(Linear, TheBiasIsAddedToTheWholeSum) {
  on_every_instruction_set([](InstructionSet set) {
    const LinearCase c{DType::kQ4_0, 21, {64, 32, 2}, 5};
    CpuBackend backend = backend_of(1, ActivationKind::kInt8);
    const std::vector<float> x = random_floats(3 * 64, 6);
    std::vector<float> bias = random_floats(21, 8);
    std::vector<float> expected = c.in_scalars(x, 3, {0, 2}, ActivationKind::kInt8);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = expected[i] + bias[i % 21];
    EXPECT_EQ(bits_of(product(backend, *c.pack(backend, {0, 2}), x, 3, 64, 0, &bias)), bits_of(expected))
        << name_of(set);
  });
}

TEST(Linear, TheSmallestAndLargestQuantsAreExact) {
  // -128 and 15 everywhere, with activations of +-127: the largest sums that 16 and 32 bits must hold.
  on_every_instruction_set([](InstructionSet set) {
    for (const auto& [dtype, quant] : {std::pair{DType::kQ8_0, 0x80}, std::pair{DType::kQ4_0, 0xff},
                                       std::pair{DType::kQ4_1, 0xff}, std::pair{DType::kQ4_0, 0x00}}) {
      const auto bytes = static_cast<std::size_t>(block_bytes(dtype));
      std::vector<std::byte> row(2 * bytes, std::byte(quant));
      const std::uint16_t one = f32_to_f16(1.0f), zero = 0;
      for (std::size_t b = 0; b < 2; ++b) {
        std::memcpy(row.data() + b * bytes, &one, 2);
        if (dtype == DType::kQ4_1) std::memcpy(row.data() + b * bytes + 2, &zero, 2);
      }
      CpuBackend backend = backend_of(1, ActivationKind::kInt8);
      const auto packed = backend.pack({dtype, 1, {64, 32, 1}, {0, 1}}, [&](Range, std::byte* out) {
        std::memcpy(out, row.data(), row.size());
      });
      const int q = dtype == DType::kQ8_0 ? -128 : (quant & 15) - (dtype == DType::kQ4_0 ? 8 : 0);
      for (const float x : {127.0f, -127.0f})
        for (const std::int64_t tokens : {1, 4, 16})
          for (const float sum : product(backend, *packed, std::vector<float>(64 * 16, x), tokens, 64, 0))
            EXPECT_EQ(sum, 64.0f * x * static_cast<float>(q)) << name_of(set) << " " << name_of(dtype);
    }
  });
}

TEST(Linear, WhatIsNoNumberIsNotLost) {
  on_every_instruction_set([](InstructionSet set) {
    const LinearCase c{DType::kQ8_0, 16, {64, 32, 1}, 5};
    for (const ActivationKind activations : kActivations) {
      CpuBackend backend = backend_of(1, activations);
      const auto packed = c.pack(backend, {0, 1});
      for (const float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        std::vector<float> x = random_floats(2 * 64, 6);
        x[64 + 5] = odd;
        const std::vector<float> out = product(backend, *packed, x, 2, 64, 0);
        for (std::size_t i = 0; i < out.size(); ++i)
          EXPECT_EQ(std::isfinite(out[i]), i < 16) << name_of(set) << ", output " << i;
      }
    }
  });
}

TEST(Linear, EmbeddingRowsAreTheWidenedWeights) {
  for (const DType dtype : kWeightTypes) {
    const LinearCase c{dtype, 37, {96, 32, 1}, 11};
    CpuBackend backend = backend_of(1, ActivationKind::kInt8);
    const auto packed = c.pack(backend, {0, 1});
    const std::vector<std::byte> all = c.weights();
    std::vector<float> out(96);
    for (TokenId token = 0; token < 37; ++token) {
      const TokenId tokens[] = {token};
      backend.embed(TensorView::matrix(out.data(), 1, 96), tokens, *packed, {0, 37});
      for (std::int64_t k = 0; k < 96; ++k)
        ASSERT_EQ(out[static_cast<std::size_t>(k)], c.at(all, token, k).value(dtype)) << name_of(dtype);
    }
  }
}

TEST(InstructionSets, OneThatTheProcessorLacksIsRefused) {
  const auto sets = instruction_sets();
  for (const auto set : {InstructionSet::kAvx2, InstructionSet::kAvx512, InstructionSet::kAvx512Vnni})
    if (std::find(sets.begin(), sets.end(), set) == sets.end()) {
      EXPECT_THROW(use_instruction_set(set), Error);
    }
  EXPECT_EQ(instruction_set(), sets.back());
}

TEST(InstructionSets, AttentionAndTheOpsOnRowsHaveTheSameBitsOnAll) {
  std::vector<std::uint32_t> first;
  on_every_instruction_set([&](InstructionSet set) {
    std::vector<float> all;
    CpuBackend backend = cpu(1);
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      AttentionCase c;
      c.heads = {{0, 6}, {0, 2}, 3, 24};
      c.dtype = dtype;
      const std::vector<float> attended = attention_of(backend, c);
      all.insert(all.end(), attended.begin(), attended.end());
    }
    std::vector<float> x = random_floats(3 * 200, 1, 3.0f), weight = random_floats(200, 2), half(3 * 100),
                       cos_sin = random_floats(3 * 40, 3);
    const auto view = TensorView::matrix(x.data(), 3, 200);
    backend.rms_norm(view, view, TensorView::vector(weight.data(), 200), 1e-5f);
    backend.rope(view, TensorView::matrix(cos_sin.data(), 3, 40), 40);
    backend.silu_mul(TensorView::matrix(half.data(), 3, 100), view);
    all.insert(all.end(), x.begin(), x.end());
    all.insert(all.end(), half.begin(), half.end());
    if (first.empty()) first = bits_of(all);
    EXPECT_EQ(bits_of(all), first) << name_of(set);
  });
}

}  // namespace
}  // namespace llm_tp::testing

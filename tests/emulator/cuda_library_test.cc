// `numerics: fast` on a GPU: products of more than 256 tokens by cuBLASLt, from weights that lie in our own
// order.
#include <gtest/gtest.h>

#include <limits>

#include "device_tensor.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"
#ifndef LLM_TP_REAL_GPU
#include "emulator/fake_cublaslt.h"
#endif

namespace llm_tp::testing {
namespace {

constexpr DType kDTypes[] = {DType::kF32,     DType::kF16,      DType::kBF16,   DType::kQ8_0, DType::kQ4_0,
                             DType::kQ4_1,    DType::kQ5_0,     DType::kQ4K,    DType::kQ5K,  DType::kQ6K,
                             DType::kInt4G64, DType::kInt8G128, DType::kFp8G128};
constexpr std::int64_t kMany = kLibraryTokens + 3;

class CudaLibrary : public ::testing::Test {
 protected:
  void SetUp() override {
    const LibraryPresence found = find_cublaslt();
    if (!found.usable) GTEST_SKIP() << found.text;
  }
};

/// x * w^T at the roots of these leaves, by the ops of a backend.
std::vector<float> product(DeviceBackend& ops, const RandomWeight& weight, Range leaves,
                           const std::vector<float>& x, std::int64_t tokens, std::int64_t rows) {
  const auto packed = weight.pack(ops, leaves);
  const auto roots = std::ssize(packed->roots());
  DeviceTensor in(ops, x, tokens),
      out(ops, std::vector<float>(static_cast<std::size_t>(roots * tokens * rows), -1.0f), roots * tokens);
  ops.linear_roots({out.view.data, DType::kF32, 3, {roots, tokens, rows, 0}, rows}, in.view, *packed);
  return out.take();
}

/// Small integers, of which every sum is exact in whatever order.
std::vector<float> integers(std::int64_t count, int most) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < count; ++i)
    out.push_back(static_cast<float>(i * 7919 % (2 * most + 1) - most));
  return out;
}

/// A weight [rows, cut.columns] of small integers in f32.
std::unique_ptr<PackedWeight> pack_integers(DeviceBackend& ops, std::int64_t rows, LeafCut cut, Range leaves,
                                            bool gated = false) {
  const Range columns = cut.columns_of(leaves);
  WeightSpec spec{DType::kF32, rows, cut, leaves};
  spec.gated = gated;
  return ops.pack(spec, [&](Range wanted, std::byte* out) {
    for (std::int64_t r = wanted.begin; r < wanted.end; ++r)
      for (std::int64_t c = columns.begin; c < columns.end; ++c, out += 4) {
        const auto number = static_cast<float>((r * 31 + c * 17) % 13 - 6);
        std::memcpy(out, &number, 4);
      }
  });
}

TEST_F(CudaLibrary, UnpackedNumbersAreThoseOfTheWeightRoundedToBf16) {
  // Token t asks for column t alone, so products are the numbers themselves.
  constexpr std::int64_t rows = 21, columns = 256;
  static_assert(columns < kMany);
  std::vector<float> unit(static_cast<std::size_t>(kMany * columns));
  for (std::int64_t t = 0; t < columns; ++t) unit[static_cast<std::size_t>(t * columns + t)] = 1.0f;
  CudaBackend library(0, 1, ManyTokensAs::kCublasLt);
  ReferenceBackend exact;
  for (const DType dtype : kDTypes) {
    const std::int64_t leaf = std::max(block_elements(dtype), 64);
    const LeafCut cut{columns, leaf, static_cast<int>(columns / leaf)};
    const RandomWeight weight(dtype, rows, cut, 5);
    const std::vector<float> want = product(exact, weight, {0, cut.leaves}, unit, kMany, rows);
    const std::vector<float> got = product(library, weight, {0, cut.leaves}, unit, kMany, rows);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], bf16_to_f32(f32_to_bf16(want[i]))) << name_of(dtype) << " " << i;
  }
}

TEST_F(CudaLibrary, EveryRootGetsItsOwnColumns) {
  // Leaves of 40 columns are filled up to 48: what lies between must not shift the others.
  constexpr LeafCut cut{7 * 40, 40, 7};
  constexpr std::int64_t rows = 35;
  CudaBackend library(0, 1, ManyTokensAs::kCublasLt);
  ReferenceBackend exact;
  const std::vector<float> x = integers(kMany * 240, 9);
  const auto at_roots = [&](DeviceBackend& ops) {
    const auto packed = pack_integers(ops, rows, cut, {1, 7});  // roots of 1, 2, 2 and 1 leaves
    const auto roots = std::ssize(packed->roots());
    EXPECT_GT(roots, 1);
    DeviceTensor in(ops, x, kMany),
        out(ops, std::vector<float>(static_cast<std::size_t>(roots * kMany * rows)), roots * kMany);
    ops.linear_roots({out.view.data, DType::kF32, 3, {roots, kMany, rows, 0}, rows}, in.view, *packed);
    return out.take();
  };
  EXPECT_EQ(at_roots(library), at_roots(exact));
}

TEST_F(CudaLibrary, WhatFillsALeafUpIsNotTheNextLeaf) {
  constexpr LeafCut cut{4 * 41, 41, 4};
  CudaBackend library(0, 1, ManyTokensAs::kCublasLt);
  ReferenceBackend exact;
  const auto first_root = [&](DeviceBackend& ops, float beyond) {
    std::vector<float> x = integers(kMany * 82, 9);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (i % 82 >= 41) x[i] = beyond;
    const auto packed = pack_integers(ops, 5, cut, {1, 3});  // two roots of a leaf
    DeviceTensor in(ops, x, kMany), out(ops, std::vector<float>(2 * kMany * 5), 2 * kMany);
    ops.linear_roots({out.view.data, DType::kF32, 3, {2, kMany, 5, 0}, 5}, in.view, *packed);
    std::vector<float> sums = out.take();
    sums.resize(kMany * 5);
    return sums;
  };
  EXPECT_EQ(first_root(library, std::numeric_limits<float>::infinity()), first_root(exact, 0.0f));
}

TEST_F(CudaLibrary, ResultsMayLieAnywhere) {
  constexpr LeafCut cut{96, 96, 1};
  CudaBackend ops(0, 1, ManyTokensAs::kCublasLt);
  const auto packed = pack_integers(ops, 16, cut, {0, 1});
  DeviceTensor x(ops, integers(kMany * 96, 5), kMany);
  const auto at_column = [&](std::int64_t first) {
    DeviceTensor out(ops, std::vector<float>(kMany * 64), kMany);
    ops.linear(out.view.column_range(first, first + 16), x.view, *packed, {});
    std::vector<float> all = out.take(), mine;
    for (std::int64_t t = 0; t < kMany; ++t)
      mine.insert(mine.end(), all.begin() + t * 64 + first, all.begin() + t * 64 + first + 16);
    return mine;
  };
  const std::vector<float> want = at_column(0);
  for (const std::int64_t first : {1, 2, 4, 48}) EXPECT_EQ(at_column(first), want) << first;
}

TEST_F(CudaLibrary, PiecesOfAnyWeightMakeUpTheProductAndBiasIsAddedOnce) {
  constexpr LeafCut cut = LeafCut{96, 96, 1};
  constexpr std::int64_t rows = 74;  // 37 gates: no whole tile
  CudaBackend ops(0, 1);
  LibraryProducts pieces(ops.stream(), make_cublaslt_gemm(ops.stream()), 2 * 16 * 96 * 2),
      whole(ops.stream(), make_cublaslt_gemm(ops.stream()));
  const auto packed = pack_integers(ops, rows, cut, {0, 1}),
             of_gates = pack_integers(ops, rows, cut, {0, 1}, true);
  DeviceTensor x(ops, integers(kMany * 96, 5), kMany), bias(ops, integers(rows, 50), 1);
  const auto with = [&](LibraryProducts& products, const PackedWeight& weight, const float* added) {
    DeviceTensor out(ops, std::vector<float>(kMany * rows, -1.0f), kMany);
    const auto of = [](const DeviceTensor& t) {
      return DeviceRows{reinterpret_cast<float*>(t.view.data), t.view.row_stride, t.view.rows(),
                        t.view.columns()};
    };
    products.linear(of(out), 0, of(x), static_cast<const CudaPackedWeight&>(weight), added);
    return out.take();
  };
  const auto* const numbers = reinterpret_cast<const float*>(bias.view.data);
  std::vector<float> want = with(whole, *packed, nullptr);
  EXPECT_EQ(with(pieces, *packed, nullptr), want);
  EXPECT_EQ(with(whole, *of_gates, nullptr), want);
  const std::vector<float> added = bias.take();
  for (std::size_t i = 0; i < want.size(); ++i) want[i] += added[i % rows];
  EXPECT_EQ(with(pieces, *packed, numbers), want);
  EXPECT_EQ(with(pieces, *of_gates, numbers), want);
}

TEST_F(CudaLibrary, UpTo256TokensAreOurOwn) {
  constexpr LeafCut cut{96, 96, 1};
  CudaBackend library(0, 1, ManyTokensAs::kCublasLt), own(0, 1, ManyTokensAs::kBf16);
  const RandomWeight weight(DType::kF16, 16, cut, 9);  // whose last three bits bf16 does not have
  const std::vector<float> x = random_floats(kMany * 96, 2);
  const auto few = std::vector<float>(x.begin(), x.begin() + kLibraryTokens * 96);
  EXPECT_EQ(bits_of(product(library, weight, {0, 1}, few, kLibraryTokens, 16)),
            bits_of(product(own, weight, {0, 1}, few, kLibraryTokens, 16)));
  EXPECT_NE(bits_of(product(library, weight, {0, 1}, x, kMany, 16)),
            bits_of(product(own, weight, {0, 1}, x, kMany, 16)));
}

#ifndef LLM_TP_REAL_GPU
TEST_F(CudaLibrary, AShapeIsChosenForOnce) {
  constexpr LeafCut cut{96, 96, 1};
  CudaBackend library(0, 1, ManyTokensAs::kCublasLt);
  const RandomWeight weight(DType::kBF16, 16, cut, 9);
  const std::vector<float> x = random_floats((kMany + 1) * 96, 2);
  const auto multiply = [&](std::int64_t tokens) {
    product(library, weight, {0, 1}, {x.begin(), x.begin() + tokens * 96}, tokens, 16);
  };
  const int before = emulator::choices_of_cublaslt();
  multiply(kMany);
  multiply(kMany + 1);
  multiply(kMany);
  multiply(kMany);
  EXPECT_EQ(emulator::choices_of_cublaslt() - before, 2);
}
#endif

}  // namespace
}  // namespace llm_tp::testing

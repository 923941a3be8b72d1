#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "attention_case.h"

namespace llm_tp::testing {
namespace {

// The documented order of RMSNorm, written without SIMD: any instruction set must give these bits.
std::vector<float> rms_norm_in_order(const std::vector<float>& x, const std::vector<float>& weight,
                                     float eps) {
  std::array<float, 16> partial{};
  for (std::size_t i = 0; i < x.size(); ++i) partial[i % 16] = std::fma(x[i], x[i], partial[i % 16]);
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) partial[i] = partial[i] + partial[i + half];
  const float factor = 1.0f / std::sqrt(partial[0] / static_cast<float>(x.size()) + eps);
  std::vector<float> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = (x[i] * factor) * weight[i];
  return out;
}

TEST(CpuOps, RmsNormSumsInTheDocumentedOrder) {
  CpuBackend backend = cpu(1);
  for (const std::size_t width : {1u, 15u, 16u, 17u, 100u, 576u}) {
    std::vector<float> x = random_floats(width, 3), weight = random_floats(width, 4), out(width);
    const auto n = static_cast<std::int64_t>(width);
    backend.rms_norm(TensorView::matrix(out.data(), 1, n), TensorView::matrix(x.data(), 1, n),
                     TensorView::vector(weight.data(), n), 1e-6f);
    EXPECT_EQ(bits_of(out), bits_of(rms_norm_in_order(x, weight, 1e-6f))) << width;
  }
}

TEST(CpuOps, RmsNormMayWriteWhereItReads) {
  CpuBackend backend = cpu(1);
  std::vector<float> x = random_floats(100, 3), weight = random_floats(100, 4);
  const auto expected = rms_norm_in_order(x, weight, 1e-6f);
  const auto view = TensorView::matrix(x.data(), 1, 100);
  backend.rms_norm(view, view, TensorView::vector(weight.data(), 100), 1e-6f);
  EXPECT_EQ(bits_of(x), bits_of(expected));
}

TEST(CpuOps, ARowIsTheSameAloneAndAmongManyOnAnyThreads) {
  constexpr std::int64_t kRows = 61, kWidth = 600, kHeadDim = 24;
  CpuBackend one = cpu(1), two = cpu(2);
  std::vector<float> weight = random_floats(kWidth, 2), x = random_floats(kRows * kWidth, 1, 3.0f);
  std::vector<float> cos_sin = random_floats(kRows * kHeadDim, 5);
  // All the ops that work on rows, over rows [begin, end).
  const auto apply = [&](CpuBackend& backend, std::int64_t begin, std::int64_t end) {
    std::vector<float> h(x.begin() + begin * kWidth, x.begin() + end * kWidth), half(h.size() / 2);
    const std::int64_t rows = end - begin;
    const auto view = TensorView::matrix(h.data(), rows, kWidth);
    const auto half_view = TensorView::matrix(half.data(), rows, kWidth / 2);
    backend.rms_norm(view, view, TensorView::vector(weight.data(), kWidth), 1e-5f);
    backend.rope(view, TensorView::matrix(cos_sin.data() + begin * kHeadDim, rows, kHeadDim), kHeadDim);
    backend.silu_mul(half_view, view);
    backend.add(view.column_range(0, kWidth / 2), half_view, TensorView::vector(weight.data(), kWidth / 2),
                1.0f);
    return bits_of(h);
  };
  const auto all = apply(one, 0, kRows);
  EXPECT_EQ(apply(two, 0, kRows), all);
  for (std::int64_t row = 0; row < kRows; ++row) {
    const std::vector<std::uint32_t> among(all.begin() + row * kWidth, all.begin() + (row + 1) * kWidth);
    ASSERT_EQ(apply(two, row, row + 1), among) << row;
  }
}

TEST(CpuOps, RopeRoundsTheSecondProductAndFusesTheFirst) {
  CpuBackend backend = cpu(1);
  for (const std::size_t head_dim : {8u, 24u, 64u}) {
    std::vector<float> x = random_floats(2 * head_dim, 1), cos_sin = random_floats(head_dim, 2), expected = x;
    const std::size_t half = head_dim / 2;
    for (std::size_t head = 0; head < 2; ++head) {
      for (std::size_t i = 0; i < half; ++i) {
        const float low = x[head * head_dim + i], high = x[head * head_dim + half + i];
        expected[head * head_dim + i] = std::fma(low, cos_sin[i], -(high * cos_sin[half + i]));
        expected[head * head_dim + half + i] = std::fma(high, cos_sin[i], low * cos_sin[half + i]);
      }
    }
    const auto n = static_cast<std::int64_t>(head_dim);
    backend.rope(TensorView::matrix(x.data(), 1, 2 * n), TensorView::matrix(cos_sin.data(), 1, n),
                 static_cast<int>(n));
    EXPECT_EQ(bits_of(x), bits_of(expected)) << head_dim;
  }
}

TEST(CpuOps, RopeLeavesTheElementsBeyondRotaryAlone) {
  CpuBackend backend = cpu(1);
  std::vector<float> x = random_floats(2 * 20, 1), cos_sin = random_floats(8, 2);
  const std::vector<float> before = x;
  backend.rope(TensorView::matrix(x.data(), 1, 40), TensorView::matrix(cos_sin.data(), 1, 8), 20);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(x[i] == before[i], i % 20 >= 8) << i;
}

TEST(CpuOps, SiluKeepsItsLimits) {
  CpuBackend backend = cpu(1);
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> gate_up{0.0f, 1000.0f, -1000.0f, infinity, std::nanf(""), 1.0f, 1.0f, 1.0f, 1.0f, 1.0f},
      out(5);
  backend.silu_mul(TensorView::matrix(out.data(), 1, 5), TensorView::matrix(gate_up.data(), 1, 10));
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], 1000.0f);
  EXPECT_EQ(out[2], 0.0f);
  EXPECT_EQ(out[3], infinity);
  EXPECT_TRUE(std::isnan(out[4]));
}

TEST(CpuOps, AnElementOfSiluIsTheSameInTheBodyAndInTheTail) {
  CpuBackend backend = cpu(1);
  const std::vector<float> gate = random_floats(33, 1, 8.0f), up = random_floats(33, 2);
  std::vector<std::uint32_t> whole;
  for (const std::size_t width : {33u, 17u, 5u, 1u}) {
    std::vector<float> gate_up(gate.begin(), gate.begin() + static_cast<std::ptrdiff_t>(width)), out(width);
    gate_up.insert(gate_up.end(), up.begin(), up.begin() + static_cast<std::ptrdiff_t>(width));
    const auto n = static_cast<std::int64_t>(width);
    backend.silu_mul(TensorView::matrix(out.data(), 1, n), TensorView::matrix(gate_up.data(), 1, 2 * n));
    if (whole.empty()) whole = bits_of(out);
    EXPECT_EQ(bits_of(out), std::vector<std::uint32_t>(whole.begin(), whole.begin() + n)) << width;
  }
}

TEST(CpuOps, AddRoundsTwice) {
  CpuBackend backend = cpu(1);
  // 1 + 2^-24 rounds to 1 and -1 + 1 is 0; were x + bias not rounded by itself, 2^-24 would remain.
  std::vector<float> h(20, -1.0f), x(20, 1.0f), bias(20, std::ldexp(1.0f, -24));
  backend.add(TensorView::matrix(h.data(), 1, 20), TensorView::matrix(x.data(), 1, 20),
              TensorView::vector(bias.data(), 20), 1.0f);
  for (const float value : h) EXPECT_EQ(value, 0.0f);
  backend.add(TensorView::matrix(h.data(), 1, 20), TensorView::matrix(x.data(), 1, 20), {}, 1.0f);
  for (const float value : h) EXPECT_EQ(value, 1.0f);
}

TEST(CpuOps, EmbedGivesZerosForTokensOfOtherRanks) {
  CpuBackend backend = cpu(1);
  const std::vector<float> table{-0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
  WeightSpec spec{DType::kF32, 3, {2, 1, 1}, {0, 1}};
  const auto packed = backend.pack(spec, [&](Range rows, std::byte* out) {
    std::memcpy(out, table.data() + rows.begin * 2, static_cast<std::size_t>(rows.size()) * 8);
  });
  const std::vector<TokenId> tokens{10, 9, 12, 13};
  std::vector<float> out(8, -1.0f);
  backend.embed(TensorView::matrix(out.data(), 4, 2), tokens, *packed, {10, 13});
  EXPECT_EQ(bits_of(out), bits_of({0.0f, 1.0f, 0.0f, 0.0f, 4.0f, 5.0f, 0.0f, 0.0f}));
}

TEST(CpuOps, NoRowsAreNoWork) {
  CpuBackend backend = cpu(2);
  const auto none = TensorView::matrix(nullptr, DType::kF32, 0, 32, 32);
  std::vector<float> weight(32);
  backend.rms_norm(none, none, TensorView::vector(weight.data(), 32), 1e-5f);
  backend.rope(none, none, 32);
  backend.silu_mul(none, TensorView::matrix(nullptr, DType::kF32, 0, 64, 64));
  backend.add(none, none, {}, 1.0f);
  const auto cache = backend.make_kv_cache({1, 0, 16, 4, 16, DType::kF32});
  EXPECT_EQ(backend.kv_bytes(cache->shape()), 0);
}

TEST(CpuOps, AllocatedMemoryIsZeroAndAligned) {
  CpuBackend backend = cpu(1);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{3} << 20}) {
    const DeviceBuffer buffer = backend.allocate(bytes);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
  }
}

TEST(CpuOps, AShapeThatDoesNotFitIsRefused) {
  CpuBackend backend = cpu(1);
  std::vector<float> x(64);
  EXPECT_THROW(backend.rms_norm(TensorView::matrix(x.data(), 1, 32), TensorView::matrix(x.data(), 1, 31),
                                TensorView::vector(x.data(), 32), 1e-5f),
               Error);
  EXPECT_THROW(backend.silu_mul(TensorView::matrix(x.data(), 1, 32), TensorView::matrix(x.data(), 1, 32)),
               Error);
  EXPECT_THROW(backend.make_kv_cache({1, 1, 16, 4, 24, DType::kF32}), Error);
}

}  // namespace
}  // namespace llm_tp::testing

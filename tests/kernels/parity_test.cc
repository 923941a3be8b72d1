// The same calls on the CPU backend and on the reference in double precision. Tolerances: f32 sums of some
// hundred terms of size one stay within 4e-6 of the exact sum, single operations within 4 ulp.
#include <gtest/gtest.h>

#include <cmath>

#include "attention_case.h"
#include "kernels/reference/reference_backend.h"

namespace llm_tp::testing {
namespace {

void expect_close(const std::vector<float>& got, const std::vector<float>& exact, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), exact.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], exact[i], tolerance * (1.0 + std::fabs(exact[i]))) << what << ", element " << i;
}

constexpr double kFourUlp = 4.8e-7;

TEST(Parity, Attention) {
  struct Shape {
    HeadMap heads;
    std::int64_t window;
    int tokens;
  };
  const Shape shapes[] = {{{{0, 6}, {0, 2}, 3, 8}, 0, 130},  {{{0, 4}, {0, 4}, 1, 24}, 0, 97},
                          {{{0, 9}, {0, 3}, 3, 64}, 0, 150}, {{{5, 9}, {1, 3}, 3, 64}, 33, 150},
                          {{{0, 8}, {0, 1}, 8, 80}, 0, 70},  {{{0, 2}, {0, 1}, 2, 256}, 70, 90}};
  CpuBackend fast = cpu(2);
  ReferenceBackend exact;
  for (const Shape& shape : shapes) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8, DType::kE4M3}) {
      AttentionCase c;
      c.heads = shape.heads;
      c.window = shape.window;
      c.tokens = shape.tokens;
      c.dtype = dtype;
      expect_close(attention_of(fast, c), attention_of(exact, c), 4e-6,
                   std::string(name_of(dtype)) + " head_dim " + std::to_string(shape.heads.head_dim));
    }
  }
}

TEST(Parity, RmsNorm) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  for (const std::int64_t width : {1, 15, 17, 576, 4096}) {
    std::vector<float> x = random_floats(static_cast<std::size_t>(3 * width), 5, 2.0f);
    std::vector<float> weight = random_floats(static_cast<std::size_t>(width), 6);
    std::vector<float> got(x.size()), want(x.size());
    for (auto& [backend, out] :
         {std::pair<DeviceBackend*, std::vector<float>*>{&fast, &got}, {&exact, &want}})
      backend->rms_norm(TensorView::matrix(out->data(), 3, width), TensorView::matrix(x.data(), 3, width),
                        TensorView::vector(weight.data(), width), 1e-5f);
    expect_close(got, want, kFourUlp, "width " + std::to_string(width));
  }
}

TEST(Parity, Rope) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  for (const auto& [head_dim, rotary] :
       {std::pair{8, 8}, std::pair{24, 24}, std::pair{64, 64}, std::pair{80, 20}}) {
    std::vector<float> got = random_floats(static_cast<std::size_t>(2 * 3 * head_dim), 7), want = got;
    std::vector<float> cos_sin = random_floats(static_cast<std::size_t>(2 * rotary), 8);
    fast.rope(TensorView::matrix(got.data(), 2, 3 * head_dim), TensorView::matrix(cos_sin.data(), 2, rotary),
              head_dim);
    exact.rope(TensorView::matrix(want.data(), 2, 3 * head_dim),
               TensorView::matrix(cos_sin.data(), 2, rotary), head_dim);
    expect_close(got, want, kFourUlp, "head_dim " + std::to_string(head_dim));
  }
}

TEST(Parity, SiluTimesUpOverTheWholeRangeOfExp) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  for (const float spread : {1.0f, 20.0f, 120.0f}) {
    std::vector<float> x = random_floats(2 * 1003, 9, spread), got(1003), want(1003);
    fast.silu_mul(TensorView::matrix(got.data(), 1, 1003), TensorView::matrix(x.data(), 1, 2006));
    exact.silu_mul(TensorView::matrix(want.data(), 1, 1003), TensorView::matrix(x.data(), 1, 2006));
    expect_close(got, want, kFourUlp, "spread " + std::to_string(spread));
  }
}

TEST(Parity, GeluTimesUpOverTheWholeRangeOfExp) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  for (const float spread : {1.0f, 8.0f, 120.0f}) {
    std::vector<float> x = random_floats(2 * 1003, 9, spread), got(1003), want(1003);
    fast.gelu_mul(TensorView::matrix(got.data(), 1, 1003), TensorView::matrix(x.data(), 1, 2006));
    exact.gelu_mul(TensorView::matrix(want.data(), 1, 1003), TensorView::matrix(x.data(), 1, 2006));
    // The exponent is a product of up to 20, whose rounding the power magnifies.
    expect_close(got, want, 8 * kFourUlp, "spread " + std::to_string(spread));
  }
}

TEST(Parity, SoftCapFromTinyToHuge) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  for (const float spread : {1e-3f, 1.0f, 30.0f, 1e4f}) {
    std::vector<float> got = random_floats(1003, 3, spread), want = got;
    fast.soft_cap(TensorView::matrix(got.data(), 1, 1003), 30.0f);
    exact.soft_cap(TensorView::matrix(want.data(), 1, 1003), 30.0f);
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], kFourUlp * std::fabs(want[i])) << "spread " << spread;
  }
}

TEST(Parity, AttentionWithASoftCap) {
  CpuBackend fast = cpu(2);
  ReferenceBackend exact;
  AttentionCase c;
  c.heads = {{0, 6}, {0, 2}, 3, 24};
  c.window = 40, c.tokens = 130, c.soft_cap = 2.0f;
  expect_close(attention_of(fast, c), attention_of(exact, c), 4e-6, "capped");
  AttentionCase without = c;
  without.soft_cap = 0.0f;
  EXPECT_NE(bits_of(attention_of(fast, c)), bits_of(attention_of(fast, without)));
}

TEST(Parity, NormsOfHeadsAndByTheSquaresOfAllHeads) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  const std::vector<float> x = random_floats(3 * 5 * 24, 5, 2.0f);
  std::vector<float> weight = random_floats(24, 6), wide = random_floats(5 * 24, 7);
  std::vector<std::vector<float>> heads, whole;
  for (DeviceBackend* backend : {static_cast<DeviceBackend*>(&fast), static_cast<DeviceBackend*>(&exact)}) {
    heads.push_back(x), whole.push_back(x);
    backend->norm_heads(TensorView::matrix(heads.back().data(), 3, 120),
                        TensorView::vector(weight.data(), 24), 1e-5f);
    std::vector<float> squares(5 * 3);
    const TensorView view = TensorView::matrix(whole.back().data(), 3, 120);
    backend->head_squares(TensorView::matrix(squares.data(), 5, 3), view);
    backend->norm_by_squares(view, TensorView::matrix(squares.data(), 5, 3), 120,
                             TensorView::vector(wide.data(), 120), 1e-5f);
    // The same as one norm of the row.
    std::vector<float> rows = x;
    const TensorView row_view = TensorView::matrix(rows.data(), 3, 120);
    backend->rms_norm(row_view, row_view, TensorView::vector(wide.data(), 120), 1e-5f);
    expect_close(whole.back(), rows, kFourUlp, "squares of heads");
  }
  expect_close(heads[0], heads[1], kFourUlp, "heads");
  expect_close(whole[0], whole[1], kFourUlp, "whole");
}

TEST(Parity, ScaleClearAndAddRows) {
  CpuBackend fast = cpu(2);
  ReferenceBackend exact;
  const std::vector<std::int32_t> rows{2, 0, 2, 1, 2};
  const std::vector<float> weights{0.5f, 1.0f, -2.0f, 3.0f, 0.25f};
  std::vector<float> x = random_floats(5 * 300, 8);
  std::vector<std::vector<float>> out;
  for (DeviceBackend* backend : {static_cast<DeviceBackend*>(&fast), static_cast<DeviceBackend*>(&exact)}) {
    out.emplace_back(4 * 300, std::nanf(""));
    const TensorView view = TensorView::matrix(out.back().data(), 4, 300);
    backend->clear(view);
    backend->add_rows(view, TensorView::matrix(x.data(), 5, 300), rows, weights);
    backend->scale(view, 1.5f);
    for (std::size_t i = 900; i < 1200; ++i) ASSERT_EQ(out.back()[i], 0.0f);  // no row names it
  }
  expect_close(out[0], out[1], kFourUlp, "add_rows");
}

TEST(Parity, AddWithBias) {
  CpuBackend fast = cpu(1);
  ReferenceBackend exact;
  std::vector<float> got = random_floats(3 * 37, 11), want = got, x = random_floats(3 * 37, 12),
                     bias = random_floats(37, 13);
  fast.add(TensorView::matrix(got.data(), 3, 37), TensorView::matrix(x.data(), 3, 37),
           TensorView::vector(bias.data(), 37), 0.5f);
  exact.add(TensorView::matrix(want.data(), 3, 37), TensorView::matrix(x.data(), 3, 37),
            TensorView::vector(bias.data(), 37), 0.5f);
  expect_close(got, want, kFourUlp, "add");
}

}  // namespace
}  // namespace llm_tp::testing

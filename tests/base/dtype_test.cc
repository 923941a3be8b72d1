#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace llm_tp {
namespace {

TEST(DType, EveryFiniteF16SurvivesTheWayToF32AndBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if ((half & 0x7c00u) == 0x7c00u && (half & 0x3ffu) != 0) {
      EXPECT_TRUE(std::isnan(f16_to_f32(half)));
      continue;
    }
    EXPECT_EQ(f32_to_f16(f16_to_f32(half)), half);
  }
}

TEST(DType, F16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);      // a tie, to even
  EXPECT_EQ(f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);  // a tie, to even
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);  // infinity
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);       // half of the least subnormal, to even
  EXPECT_EQ(f32_to_f16(0x1.8p-25f), 1);
}

TEST(DType, Bf16RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::nanf("")))));
}

TEST(DType, E4m3IsTheNearestNumberAndTheEvenOneOfTwo) {
  // Every finite number, and what lies a little below, at and above the middle to the next one.
  for (std::uint8_t bits = 0; bits < 0x7e; ++bits) {
    const float below = e4m3_to_f32(bits), above = e4m3_to_f32(static_cast<std::uint8_t>(bits + 1));
    const float middle = (below + above) / 2;
    const auto up = static_cast<std::uint8_t>(bits + 1), even = bits % 2 == 0 ? bits : up;
    EXPECT_EQ(f32_to_e4m3(below), bits);
    EXPECT_EQ(f32_to_e4m3(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(f32_to_e4m3(middle), even);
    EXPECT_EQ(f32_to_e4m3(std::nextafter(middle, 1000.0f)), up);
    EXPECT_EQ(f32_to_e4m3(-below), bits | 0x80);
  }
}

TEST(DType, E4m3SaturatesAndKeepsNan) {
  EXPECT_EQ(f32_to_e4m3(448.0f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(f32_to_e4m3(std::nanf("")))));
}

TEST(DType, NamesGoBothWays) {
  for (DType d : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
    EXPECT_EQ(dtype_from_name(name_of(d)), d);
  EXPECT_EQ(dtype_from_name("q9"), std::nullopt);
}

}  // namespace
}  // namespace llm_tp

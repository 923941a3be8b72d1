#include "kernels/vector_codes.h"

#include <gtest/gtest.h>

#include <vector>

namespace llm_tp {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(VectorCodes, TheLargestNumberHasTheLargestCode) {
  for (const float largest : {1.0f, 127.0f, 3.7e-3f, 1e30f, 1e-30f}) {
    const std::vector<float> x{largest / 3, -largest, 0.0f};
    const float eight = vector_scale(x, DType::kInt8), fp8 = vector_scale(x, DType::kE4M3);
    EXPECT_EQ(int8_code(-largest, eight), -127);
    EXPECT_EQ(int8_code(0.0f, eight), 0);
    EXPECT_EQ(e4m3_to_f32(e4m3_code(largest, fp8)), 448.0f);
  }
}

TEST(VectorCodes, Int8IsTheNearestCodeAndTheEvenOneOfTwo) {
  for (int code = -127; code < 127; ++code) {
    const auto low = static_cast<float>(code);
    EXPECT_EQ(int8_code(low, 1.0f), code);
    EXPECT_EQ(int8_code(low + 0.5f, 1.0f), code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(int8_code(low + 0.49f, 1.0f), code);
    EXPECT_EQ(int8_code(low + 0.51f, 1.0f), code + 1);
  }
}

TEST(VectorCodes, NumbersTooSmallForAScaleAreZeros) {
  const std::vector<float> x{1e-44f, -1e-44f};
  for (const DType dtype : {DType::kInt8, DType::kE4M3}) EXPECT_EQ(vector_scale(x, dtype), 0.0f);
  EXPECT_EQ(int8_code(x[0], 0.0f), 0);
  EXPECT_EQ(e4m3_code(x[0], 0.0f), 0);
}

TEST(VectorCodes, ASubnormalScaleThatLostBitsGivesNoCodeBeyondTheLargest) {
  const float largest = 1e-42f;  // 714 steps of 2^-149; over 127 that is 5.6, rounded to 6
  const float scale = vector_scale(std::vector<float>{largest}, DType::kInt8);
  ASSERT_GT(scale, 0.0f);
  EXPECT_LE(int8_code(largest, scale), 127);
  EXPECT_EQ(int8_code(2 * largest, scale), 127);
}

TEST(VectorCodes, WhatIsNotFiniteMakesTheScaleNan) {
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()})
    for (const DType dtype : {DType::kInt8, DType::kE4M3})
      EXPECT_TRUE(std::isnan(vector_scale(std::vector<float>{1.0f, bad, 2.0f}, dtype)));
  EXPECT_EQ(int8_code(kInfinity, std::numeric_limits<float>::quiet_NaN()), 0);
}

}  // namespace
}  // namespace llm_tp

#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace llm_tp {
namespace {

/// Pair i of a head rotates by 2 pi every `wavelength` positions; written down another way than in rope.cc.
long double plain_wavelength(double theta, std::int64_t i, std::int64_t head_dim) {
  return 2 * std::acos(-1.0L) * std::pow(static_cast<long double>(theta), 2.0L * i / head_dim);
}

/// Llama 3.1: wavelengths above context / low are longer by the factor, those below context / high stay;
/// between, the frequency goes from one to the other linearly in context / wavelength.
long double llama3_wavelength(const RopeSettings& s, std::int64_t i, std::int64_t head_dim) {
  const long double plain = plain_wavelength(s.theta, i, head_dim);
  const long double turns = s.original_context / plain;  // within the context the model was first trained on
  if (turns > s.high_frequency_factor) return plain;
  if (turns < s.low_frequency_factor) return plain * s.factor;
  const long double kept =
      (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
  return 1 / (kept / plain + (1 - kept) / (plain * s.factor));
}

template <class Wavelength>
void expect_angles(const RopeSettings& settings, std::int64_t head_dim, const Wavelength& wavelength) {
  const Rope rope(settings, head_dim);
  const std::vector<std::int32_t> positions{0, 1, 2, 17, 511, 8191, 131071, 1048575};
  const auto rows = static_cast<std::int64_t>(positions.size());
  std::vector<float> out(static_cast<std::size_t>(rows * head_dim));
  rope.fill(TensorView::matrix(out.data(), rows, head_dim), positions);
  for (std::int64_t t = 0; t < rows; ++t)
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
      const long double angle = 2 * std::acos(-1.0L) * positions[static_cast<std::size_t>(t)] / wavelength(i);
      const float* row = out.data() + t * head_dim;
      // A million radians lose 1e-10 in double; a float angle would lose 0.06.
      EXPECT_NEAR(row[i], std::cos(angle), 1e-7) << "position " << positions[static_cast<std::size_t>(t)];
      EXPECT_NEAR(row[head_dim / 2 + i], std::sin(angle), 1e-7) << "pair " << i;
    }
}

TEST(Rope, RotatesPairIByPositionTimesThetaToTheMinus2IOverHeadDim) {
  for (const std::int64_t head_dim : {2, 24, 64, 128})
    for (const double theta : {10000.0, 500000.0, 1000000.0}) {
      RopeSettings settings;
      settings.theta = theta;
      expect_angles(settings, head_dim, [&](std::int64_t i) { return plain_wavelength(theta, i, head_dim); });
    }
}

TEST(Rope, LinearScalingStretchesEveryWavelength) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kLinear;
  settings.factor = 2.5;
  expect_angles(settings, 64, [&](std::int64_t i) { return 2.5L * plain_wavelength(10000, i, 64); });
}

TEST(Rope, Llama3ScalingStretchesLongWavelengthsAlone) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kLlama3;
  settings.theta = 500000;
  settings.factor = 8;
  settings.low_frequency_factor = 1, settings.high_frequency_factor = 4, settings.original_context = 8192;
  expect_angles(settings, 128, [&](std::int64_t i) { return llama3_wavelength(settings, i, 128); });
  // All three regions are there: the shortest stays, the longest is eight times as long, one lies between.
  const auto stretch = [&](std::int64_t i) {
    return llama3_wavelength(settings, i, 128) / plain_wavelength(settings.theta, i, 128);
  };
  EXPECT_EQ(stretch(0), 1);
  EXPECT_EQ(stretch(63), 8);
  bool between = false;
  for (std::int64_t i = 0; i < 64; ++i) between = between || (stretch(i) > 1.1L && stretch(i) < 7.9L);
  EXPECT_TRUE(between);
}

TEST(Rope, DivisorsOfAFileDivideTheFrequencies) {
  RopeSettings settings;
  settings.divisors = {1, 2, 8, 32};
  expect_angles(settings, 8, [&](std::int64_t i) {
    return settings.divisors[static_cast<std::size_t>(i)] * plain_wavelength(10000, i, 8);
  });
}

}  // namespace
}  // namespace llm_tp

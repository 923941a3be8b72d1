#include "model/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
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
  const std::vector<std::int32_t> lengths(positions.size(), 1);
  rope.fill(TensorView::matrix(out.data(), rows, head_dim), positions, lengths);
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

/// Frequencies at a length are those of the plain embedding divided by stretch(pair).
template <class Stretch>
void expect_stretch(const RopeSettings& settings, std::int64_t head_dim, std::int64_t length,
                    const Stretch& stretch) {
  const std::vector<double> frequencies = Rope(settings, head_dim).frequencies(length);
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    const auto wanted =
        static_cast<double>(2 * std::acos(-1.0L) / plain_wavelength(settings.theta, i, head_dim)) /
        stretch(i);
    EXPECT_NEAR(frequencies[static_cast<std::size_t>(i)] / wanted, 1, 1e-12)
        << "pair " << i << ", length " << length;
  }
}

TEST(Rope, DynamicScalingStretchesTheLastPairByTheLengthBeyondTheContext) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kDynamic;
  settings.factor = 2, settings.original_context = 100;
  for (const std::int64_t length : {1, 100})
    expect_stretch(settings, 32, length, [](std::int64_t) { return 1.0; });
  // theta grows by s^(d / (d - 2)), so pair i of d / 2 is stretched by s^(2i / (d - 2)): the last one by s.
  for (const std::int64_t length : {101, 250}) {
    const double s = 2.0 * static_cast<double>(length) / 100 - 1;
    expect_stretch(settings, 32, length,
                   [&](std::int64_t i) { return std::pow(s, static_cast<double>(i) / 15); });
  }
}

TEST(Rope, LongRopeTakesTheLongDivisorsBeyondTheContext) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kLongRope;
  settings.original_context = 100;
  settings.divisors = {1, 1.5, 2, 3}, settings.long_divisors = {1, 4, 9, 16};
  const auto of = [](const std::vector<double>& list) {
    return [&list](std::int64_t i) { return list[static_cast<std::size_t>(i)]; };
  };
  expect_stretch(settings, 8, 100, of(settings.divisors));
  expect_stretch(settings, 8, 101, of(settings.long_divisors));
}

TEST(Rope, YarnKeepsFastPairsAndStretchesSlowOnes) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kYarn;
  settings.factor = 4, settings.original_context = 4096, settings.attention_factor = 1.25;
  // Pairs 20 and 46 of 64 turn about 32 times and once within 4096 positions.
  expect_stretch(settings, 128, 1, [](std::int64_t i) {
    const double share = std::min(1.0, std::max(0.0, (static_cast<double>(i) - 20) / 26));
    return 1 / (share / 4 + 1 - share);
  });
  std::vector<float> out(128);
  const std::vector<std::int32_t> zero{0}, one{1};
  Rope(settings, 128).fill(TensorView::matrix(out.data(), 1, 128), zero, one);
  EXPECT_EQ(out[0], 1.25F);
}

TEST(Rope, AnglesOfARowDependOnItsOwnLengthAlone) {
  RopeSettings settings;
  settings.kind = RopeSettings::Kind::kDynamic;
  settings.factor = 2, settings.original_context = 10;
  const Rope rope(settings, 16);
  const std::vector<std::int32_t> positions{3, 4, 40, 5}, lengths{4, 50, 41, 50};
  std::vector<float> together(4 * 16), alone(16);
  rope.fill(TensorView::matrix(together.data(), 4, 16), positions, lengths);
  for (std::size_t t = 0; t < 4; ++t) {
    rope.fill(TensorView::matrix(alone.data(), 1, 16), std::span(positions).subspan(t, 1),
              std::span(lengths).subspan(t, 1));
    EXPECT_EQ(alone, std::vector<float>(together.begin() + static_cast<std::ptrdiff_t>(16 * t),
                                        together.begin() + static_cast<std::ptrdiff_t>(16 * (t + 1))));
  }
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

#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace llm_tp {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

/// Llama 3.1: long wavelengths are stretched by the factor, short ones stay, those between go over smoothly.
double llama3_frequency(double frequency, const RopeSettings& s) {
  const double wavelength = kTurn / frequency;
  if (wavelength > s.original_context / s.low_frequency_factor) return frequency / s.factor;
  if (wavelength < s.original_context / s.high_frequency_factor) return frequency;
  const double smooth = (s.original_context / wavelength - s.low_frequency_factor) /
                        (s.high_frequency_factor - s.low_frequency_factor);
  return frequency * ((1 - smooth) / s.factor + smooth);
}

/// YaRN (Peng et al. 2023): which share of the stretched frequency pair i takes. Pairs that turn more than
/// beta_fast times within the original context stay; those that turn less than beta_slow times are stretched.
double yarn_share(std::int64_t pair, std::int64_t rotary, const RopeSettings& s) {
  const auto width = static_cast<double>(rotary);
  const auto pair_of_turns = [&](double turns) {
    return width * std::log(s.original_context / (turns * kTurn)) / (2 * std::log(s.theta));
  };
  const double low = std::max(std::floor(pair_of_turns(s.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_of_turns(s.beta_slow)), width - 1);
  if (low == high) high += 0.001;
  return std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
}

/// NTK-aware scaling: the base grows with the length beyond the original context.
double theta_of(const RopeSettings& s, std::int64_t rotary, std::int64_t length) {
  const auto tokens = static_cast<double>(length), width = static_cast<double>(rotary);
  if (s.kind != RopeSettings::Kind::kDynamic || tokens <= s.original_context) return s.theta;
  return s.theta * std::pow(s.factor * tokens / s.original_context - (s.factor - 1), width / (width - 2));
}

}  // namespace

Rope::Rope(const RopeSettings& settings, std::int64_t head_dim)
    : settings_(settings), rotary_(settings.rotary > 0 ? settings.rotary : head_dim) {}

std::vector<double> Rope::frequencies(std::int64_t length) const {
  using Kind = RopeSettings::Kind;
  const double theta = theta_of(settings_, rotary_, length);
  const bool is_long =
      settings_.kind == Kind::kLongRope && static_cast<double>(length) > settings_.original_context;
  const std::vector<double>& divisors = is_long ? settings_.long_divisors : settings_.divisors;
  std::vector<double> all;
  for (std::int64_t i = 0; i < rotary_ / 2; ++i) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_));
    if (settings_.kind == Kind::kLinear) frequency /= settings_.factor;
    if (settings_.kind == Kind::kLlama3) frequency = llama3_frequency(frequency, settings_);
    if (settings_.kind == Kind::kYarn) {
      const double share = yarn_share(i, rotary_, settings_);
      frequency = frequency / settings_.factor * share + frequency * (1 - share);
    }
    if (!divisors.empty()) frequency /= divisors[static_cast<std::size_t>(i)];
    all.push_back(frequency);
  }
  return all;
}

void Rope::fill(TensorView out, std::span<const std::int32_t> positions,
                std::span<const std::int32_t> lengths) const {
  const std::int64_t half = rotary_ / 2;
  LLM_TP_CHECK(out.rows() == static_cast<std::int64_t>(positions.size()) &&
                   positions.size() == lengths.size() && out.columns() == rotary_,
               "rope: shape of the angles");
  std::vector<double> frequencies_of_length;
  std::int64_t length = -1;
  for (std::int64_t t = 0; t < out.rows(); ++t) {
    const auto row = static_cast<std::size_t>(t);
    if (length < 0 || (settings_.by_length() && length != lengths[row]))
      frequencies_of_length = frequencies(length = lengths[row]);
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = positions[row] * frequencies_of_length[static_cast<std::size_t>(i)];
      out.row(t)[i] = static_cast<float>(std::cos(angle) * settings_.attention_factor);
      out.row(t)[half + i] = static_cast<float>(std::sin(angle) * settings_.attention_factor);
    }
  }
}

}  // namespace llm_tp

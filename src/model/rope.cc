#include "model/rope.h"

#include <cmath>
#include <numbers>

namespace llm_tp {
namespace {

/// Llama 3.1: long wavelengths are stretched by the factor, short ones stay, those between go over smoothly.
double llama3_frequency(double frequency, const RopeSettings& s) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > s.original_context / s.low_frequency_factor) return frequency / s.factor;
  if (wavelength < s.original_context / s.high_frequency_factor) return frequency;
  const double smooth = (s.original_context / wavelength - s.low_frequency_factor) /
                        (s.high_frequency_factor - s.low_frequency_factor);
  return frequency * ((1 - smooth) / s.factor + smooth);
}

}  // namespace

Rope::Rope(const RopeSettings& settings, std::int64_t head_dim) {
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    double frequency =
        std::pow(settings.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (settings.kind == RopeSettings::Kind::kLinear) frequency /= settings.factor;
    if (settings.kind == RopeSettings::Kind::kLlama3) frequency = llama3_frequency(frequency, settings);
    if (!settings.divisors.empty()) frequency /= settings.divisors[static_cast<std::size_t>(i)];
    frequencies_.push_back(frequency);
  }
}

void Rope::fill(TensorView out, std::span<const std::int32_t> positions) const {
  const auto half = static_cast<std::int64_t>(frequencies_.size());
  LLM_TP_CHECK(out.rows() == static_cast<std::int64_t>(positions.size()) && out.columns() == 2 * half,
               "rope: shape of the angles");
  for (std::int64_t t = 0; t < out.rows(); ++t)
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = positions[static_cast<std::size_t>(t)] * frequencies_[static_cast<std::size_t>(i)];
      out.row(t)[i] = static_cast<float>(std::cos(angle));
      out.row(t)[half + i] = static_cast<float>(std::sin(angle));
    }
}

}  // namespace llm_tp

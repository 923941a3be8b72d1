#pragma once
#include <cstdint>

namespace llm_tp {

/// What a gated MLP does to its gate x. kSilu: x / (1 + exp(-x)). kGelu: x / (1 + exp(-2 u)), u = sqrt(2 /
/// pi)
/// * (x + 0.044715 x^3) (Hendrycks & Gimpel 2016, the form with tanh).
enum class Activation : std::uint8_t { kSilu, kGelu };

}  // namespace llm_tp

#include "decoding/counter_rng.h"

#include <cmath>

namespace llm_tp {

double GumbelDraw::value() const noexcept {
  const double u = (static_cast<double>(high_bits_) + 0.5) * 0x1p-53;  // never 0 or 1
  return -std::log(-std::log(u));
}

/// value() >= bound needs -log(u) <= e^-bound, and 1 - u < -log(u). e^-bound < 2 / (1 + bound)^2 for bound >
/// 0, which needs no exponential; the slack of both outweighs every rounding.
bool GumbelDraw::cannot_reach(double bound) const noexcept {
  if (bound <= 0) return false;
  const double rest = (0x1p53 - static_cast<double>(high_bits_) - 1.0) * 0x1p-53;  // a little below 1 - u
  return rest * (1 + bound) * (1 + bound) > 2.0;
}

}  // namespace llm_tp

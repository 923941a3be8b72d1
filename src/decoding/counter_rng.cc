#include "decoding/counter_rng.h"

#include <cmath>

namespace llm_tp {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

GumbelDraw::GumbelDraw(std::uint64_t seed, std::int32_t sequence, std::int32_t position, TokenId token) {
  const auto bits = philox4x32({static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(position),
                                static_cast<std::uint32_t>(sequence), 0},
                               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  high_bits_ = (std::uint64_t{bits[0]} << 32 | bits[1]) >> 11;
}

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

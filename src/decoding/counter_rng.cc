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

double gumbel(std::uint64_t seed, std::uint32_t sequence, std::uint32_t position, std::uint32_t token) {
  const auto bits = philox4x32({token, position, sequence, 0},
                               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t wide = std::uint64_t{bits[0]} << 32 | bits[1];
  const double u = (static_cast<double>(wide >> 11) + 0.5) * 0x1p-53;  // never 0 or 1
  return -std::log(-std::log(u));
}

}  // namespace llm_tp

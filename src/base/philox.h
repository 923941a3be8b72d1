#pragma once
#include <cstdint>

#include "base/host_device.h"
#include "base/ids.h"

namespace llm_tp {

struct PhiloxCounter {
  std::uint32_t word[4];
};
struct PhiloxKey {
  std::uint32_t word[2];
};

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): 128 random bits that
/// are a function of key and counter alone, so that a draw does not depend on what was drawn before or by
/// whom.
LLM_TP_HOST_DEVICE PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {
        {static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key.word[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key.word[1], static_cast<std::uint32_t>(a)}};
    key = {{key.word[0] + 0x9E3779B9u, key.word[1] + 0xBB67AE85u}};
  }
  return counter;
}

/// Which draws a row takes.
struct DrawStream {
  std::uint64_t seed = 0;
  std::int32_t sequence = 0, position = 0;
};

/// 53 random bits of a token in a stream.
LLM_TP_HOST_DEVICE std::uint64_t random_bits(const DrawStream& stream, TokenId token) {
  const PhiloxCounter bits =
      philox4x32({{static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(stream.position),
                   static_cast<std::uint32_t>(stream.sequence), 0}},
                 {{static_cast<std::uint32_t>(stream.seed), static_cast<std::uint32_t>(stream.seed >> 32)}});
  return (std::uint64_t{bits.word[0]} << 32 | bits.word[1]) >> 11;
}

}  // namespace llm_tp

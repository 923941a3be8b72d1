#pragma once
#include <cstdint>

#include "base/host_device.h"

namespace llm_tp {

/// e = exp(x) for x <= 0: 2^n * 2^f with f in [-1/2, 1/2] by a polynomial (the Taylor series of e^(f ln 2)).
/// Plain multiplies and adds, so that it gives the same bits everywhere. x below -87, which could not change
/// a sum that holds 1, become -87, and their e 0; so does what is not a number. Floats, Bits, Ints: f32, u32
/// and i32, or the compilers' own vectors of them.
template <class Floats, class Bits, class Ints>
LLM_TP_HOST_DEVICE void exp_below_zero(Floats& x, Floats& e) {
  constexpr std::uint32_t kSmallest = 0xc2ae0000u;  // the bits of -87
  // `above` has all bits set for x that are not below, found from the bits of floats below zero, whose order
  // is that of their magnitudes.
  const Bits bits = __builtin_bit_cast(Bits, x) | 0x80000000u;
  const Bits below = bits - kSmallest;
  const Ints sign = __builtin_bit_cast(Ints, below) >> 31;
  const Bits above = __builtin_bit_cast(Bits, sign);
  const Bits clamped = (bits & above) | (kSmallest & ~above);
  x = __builtin_bit_cast(Floats, clamped);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504088896341f + kRound;
  const Floats whole = shifted - kRound;
  // Cody and Waite: ln 2 in two parts.
  const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  // The last bits of `shifted` are the whole number; added to the exponent of p they multiply it by 2^n.
  const Bits value = (__builtin_bit_cast(Bits, p) + (__builtin_bit_cast(Bits, shifted) << 23)) & above;
  e = __builtin_bit_cast(Floats, value);
}

}  // namespace llm_tp

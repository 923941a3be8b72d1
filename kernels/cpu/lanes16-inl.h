// Sixteen f32 lanes whatever the vector width of the target: one register of AVX-512, two of AVX2, four of
// NEON. All ops of the CPU backend are written with them, so that every target adds the same numbers in the
// same order. Included once per target by Highway's foreach_target.
#if defined(LLM_TP_KERNELS_CPU_LANES16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLM_TP_KERNELS_CPU_LANES16_INL_H_
#undef LLM_TP_KERNELS_CPU_LANES16_INL_H_
#else
#define LLM_TP_KERNELS_CPU_LANES16_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<FloatTag>;
constexpr int kLanes = 16;
constexpr int kVectorLanes = static_cast<int>(HWY_MAX_BYTES < 64 ? HWY_MAX_BYTES : 64) / 4;
constexpr int kParts = kLanes / kVectorLanes;

struct Lanes16 {
  FloatVector part[kParts];
};

/// A bfloat16 number as it lies in memory.
struct BFloat16 {
  std::uint16_t bits;
};

/// An e4m3 number as it lies in memory.
struct Fp8 {
  std::uint8_t bits;
};

HWY_INLINE Lanes16 broadcast(float value) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Set(FloatTag(), value);
  return out;
}
HWY_INLINE Lanes16 load16(const float* from) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::LoadU(FloatTag(), from + i * kVectorLanes);
  return out;
}
HWY_INLINE Lanes16 load16(const hwy::float16_t* from) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  Lanes16 out;
  for (int i = 0; i < kParts; ++i)
    out.part[i] = hn::PromoteTo(FloatTag(), hn::LoadU(half, from + i * kVectorLanes));
  return out;
}
HWY_INLINE Lanes16 load16(const BFloat16* from) {
  const hn::Rebind<std::uint16_t, FloatTag> half;
  const hn::Rebind<std::uint32_t, FloatTag> whole;
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) {
    const auto bits = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from) + i * kVectorLanes);
    out.part[i] = hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(whole, bits)));
  }
  return out;
}
HWY_INLINE Lanes16 load16(const std::int8_t* from) {
  const hn::Rebind<std::int8_t, FloatTag> byte;
  const hn::Rebind<std::int32_t, FloatTag> whole;
  Lanes16 out;
  for (int i = 0; i < kParts; ++i)
    out.part[i] = hn::ConvertTo(FloatTag(), hn::PromoteTo(whole, hn::LoadU(byte, from + i * kVectorLanes)));
  return out;
}
/// 1 / 256 of each number: its exponent and mantissa are those of an f16, whose exponent's bias is 15 where
/// that of e4m3 is 7.
HWY_INLINE Lanes16 load16(const Fp8* from) {
  const hn::Rebind<std::uint8_t, FloatTag> byte;
  const hn::Rebind<std::uint16_t, FloatTag> pair;
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) {
    const auto bits =
        hn::PromoteTo(pair, hn::LoadU(byte, reinterpret_cast<const std::uint8_t*>(from) + i * kVectorLanes));
    const auto sign = hn::ShiftLeft<8>(hn::And(bits, hn::Set(pair, 0x80)));
    const auto magnitude = hn::ShiftLeft<7>(hn::And(bits, hn::Set(pair, 0x7f)));
    out.part[i] = hn::PromoteTo(FloatTag(), hn::BitCast(half, hn::Or(sign, magnitude)));
  }
  return out;
}
/// The first `count` (< 16) numbers, then zeros; reads no further.
HWY_INLINE Lanes16 load_some(const float* from, std::int64_t count) {
  alignas(64) float buffer[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) buffer[i] = from[i];
  return load16(buffer);
}
HWY_INLINE void store16(const Lanes16& value, float* to) {
  for (int i = 0; i < kParts; ++i) hn::StoreU(value.part[i], FloatTag(), to + i * kVectorLanes);
}
HWY_INLINE void store_some(const Lanes16& value, float* to, std::int64_t count) {
  alignas(64) float buffer[kLanes];
  store16(value, buffer);
  for (std::int64_t i = 0; i < count; ++i) to[i] = buffer[i];
}

HWY_INLINE Lanes16 add(const Lanes16& a, const Lanes16& b) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Add(a.part[i], b.part[i]);
  return out;
}
HWY_INLINE Lanes16 subtract(const Lanes16& a, const Lanes16& b) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Sub(a.part[i], b.part[i]);
  return out;
}
HWY_INLINE Lanes16 multiply(const Lanes16& a, const Lanes16& b) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Mul(a.part[i], b.part[i]);
  return out;
}
HWY_INLINE Lanes16 divide(const Lanes16& a, const Lanes16& b) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Div(a.part[i], b.part[i]);
  return out;
}
/// a * b + c, rounded once.
HWY_INLINE Lanes16 fused(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::MulAdd(a.part[i], b.part[i], c.part[i]);
  return out;
}
/// c - a * b, rounded once.
HWY_INLINE Lanes16 fused_negative(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::NegMulAdd(a.part[i], b.part[i], c.part[i]);
  return out;
}
HWY_INLINE Lanes16 maximum(const Lanes16& a, const Lanes16& b) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Max(a.part[i], b.part[i]);
  return out;
}

/// ((l0 + l8) + (l4 + l12)) + …: halves, quarters, pairs; the same order on every target.
HWY_INLINE float fold_sum(const Lanes16& value) {
  alignas(64) float lane[kLanes];
  store16(value, lane);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}
/// The largest lane; which of -0 and +0, or what where a lane is NaN, is left open.
HWY_INLINE float largest_lane(const Lanes16& value) {
  FloatVector largest = value.part[0];
  for (int i = 1; i < kParts; ++i) largest = hn::Max(largest, value.part[i]);
  return hn::GetLane(hn::MaxOfLanes(FloatTag(), largest));
}

/// e^x within 2 ulp: x = n ln 2 + r, a polynomial of degree 7 on |r| <= ln 2 / 2 (coefficients of Cephes'
/// expf), times 2^n in two factors so that subnormal results round once more at most. e^0 = 1 exactly; x <=
/// -104 gives 0, x >= 89 infinity, NaN stays NaN.
HWY_INLINE FloatVector exp_of(FloatVector x) {
  const FloatTag d;
  const hn::Rebind<std::int32_t, FloatTag> integers;
  const FloatVector clamped = hn::Max(hn::Min(x, hn::Set(d, 89.0f)), hn::Set(d, -104.0f));
  const FloatVector n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  FloatVector r = hn::MulAdd(n, hn::Set(d, -0.693359375f), clamped);
  r = hn::MulAdd(n, hn::Set(d, 2.12194440e-4f), r);
  FloatVector y = hn::Set(d, 1.9875691500e-4f);
  y = hn::MulAdd(y, r, hn::Set(d, 1.3981999507e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 8.3334519073e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 4.1665795894e-2f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.6666665459e-1f));
  y = hn::MulAdd(y, r, hn::Set(d, 5.0000001201e-1f));
  y = hn::Add(hn::MulAdd(y, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  const auto whole = hn::ConvertTo(integers, n);
  const auto first = hn::ShiftRight<1>(whole);
  const auto second = hn::Sub(whole, first);
  const auto bias = hn::Set(integers, 127);
  y = hn::Mul(y, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(first, bias))));
  y = hn::Mul(y, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(second, bias))));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}
HWY_INLINE Lanes16 exponential(const Lanes16& x) {
  Lanes16 out;
  for (int i = 0; i < kParts; ++i) out.part[i] = exp_of(x.part[i]);
  return out;
}

/// tanh x within 3 ulp: Cephes' polynomial of x^2 below 0.625, 1 - 2 / (e^2x + 1) above, odd in x.
HWY_INLINE FloatVector tanh_of(FloatVector x) {
  const FloatTag d;
  const FloatVector square = hn::Mul(x, x);
  FloatVector small = hn::Set(d, -5.70498872745e-3f);
  small = hn::MulAdd(small, square, hn::Set(d, 2.06390887954e-2f));
  small = hn::MulAdd(small, square, hn::Set(d, -5.37397155531e-2f));
  small = hn::MulAdd(small, square, hn::Set(d, 1.33314422036e-1f));
  small = hn::MulAdd(small, square, hn::Set(d, -3.33332819422e-1f));
  small = hn::MulAdd(hn::Mul(small, square), x, x);
  const FloatVector size = hn::Abs(x), one = hn::Set(d, 1.0f);
  const FloatVector power = exp_of(hn::Add(size, size));
  const FloatVector large = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(power, one)));
  return hn::IfThenElse(hn::Lt(size, hn::Set(d, 0.625f)), small, hn::CopySign(large, x));
}
/// cap * tanh(x / cap)
HWY_INLINE Lanes16 soft_capped(const Lanes16& x, float cap) {
  Lanes16 out;
  const FloatVector by = hn::Set(FloatTag(), cap);
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::Mul(tanh_of(hn::Div(x.part[i], by)), by);
  return out;
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#include "weights/block_formats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "base/blocks/block.h"
#include "base/error.h"
#include "weights/weight_source.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kBlock = 32;  // numbers of a block in every format that is written here

std::uint16_t load_u16(const std::byte* in) {
  std::uint16_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
void store_u16(std::byte* out, std::uint16_t value) { std::memcpy(out, &value, sizeof value); }

float inverse(float scale) {
  const float result = scale != 0.0f ? 1.0f / scale : 0.0f;
  // A scale this small is zero as f16, so the block is zero whatever its integers are.
  return std::isfinite(result) ? result : 0.0f;
}
/// Truncates towards zero; NaN and what is out of range become 0 instead of undefined.
int to_int(float value) { return std::fabs(value) < 256.0f ? static_cast<int>(value) : 0; }

/// The f32 scale of a block that holds NaN is NaN, so that the damage stays visible.
bool has_nan(const float* in) {
  return std::any_of(in, in + kBlock, [](float value) { return std::isnan(value); });
}

void encode_q8_0(const float* in, std::byte* out) {
  float largest = 0.0f;
  for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(in[i]));
  if (has_nan(in)) largest = std::nanf("");
  const float scale = largest / 127.0f;
  const float factor = inverse(scale);
  store_u16(out, f32_to_f16(scale));
  for (int i = 0; i < kBlock; ++i)
    out[2 + i] = static_cast<std::byte>(static_cast<std::uint8_t>(to_int(std::round(in[i] * factor))));
}

/// Bytes of 16 pairs: number i low, number i + 16 high.
void store_nibbles(const std::array<int, kBlock>& values, std::byte* out) {
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    const int low = std::clamp(values[i], 0, 15), high = std::clamp(values[i + kBlock / 2], 0, 15);
    out[i] = static_cast<std::byte>(low | high << 4);
  }
}
void encode_q4_0(const float* in, std::byte* out) {
  float farthest = 0.0f;  // with its sign; of two as far the first, as ggml does
  for (int i = 0; i < kBlock; ++i)
    if (std::fabs(in[i]) > std::fabs(farthest)) farthest = in[i];
  if (has_nan(in)) farthest = std::nanf("");
  const float scale = farthest / -8.0f;
  const float factor = inverse(scale);
  store_u16(out, f32_to_f16(scale));
  std::array<int, kBlock> values{};
  for (std::size_t i = 0; i < kBlock; ++i) values[i] = to_int(in[i] * factor + 8.5f);
  store_nibbles(values, out + 2);
}

void encode_q4_1(const float* in, std::byte* out) {
  const auto [least, most] = std::minmax_element(in, in + kBlock);
  const float base = has_nan(in) ? std::nanf("") : *least;
  const float scale = (*most - base) / 15.0f;
  const float factor = inverse(scale);
  store_u16(out, f32_to_f16(scale));
  store_u16(out + 2, f32_to_f16(base));
  std::array<int, kBlock> values{};
  for (std::size_t i = 0; i < kBlock; ++i) values[i] = to_int((in[i] - base) * factor + 0.5f);
  store_nibbles(values, out + 4);
}

template <typename Encode>
void for_each_block(std::int64_t n, int bytes, Encode encode) {
  for (std::int64_t i = 0; i < n / kBlock; ++i) encode(i * bytes, i * kBlock);
}

[[noreturn]] void refuse(DType dtype) {
  throw_bug("dtype", __FILE__, __LINE__,
            std::string("weights of dtype ").append(name_of(dtype)).append(" cannot be converted"));
}

}  // namespace

void decode_row(DType from, const std::byte* in, float* out, std::int64_t n) {
  LLM_TP_CHECK(n >= 0 && n % block_elements(from) == 0, "decode_row: whole blocks");
  switch (from) {
    case DType::kF32:
      if (n > 0) std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::kF16:
      for (std::int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(load_u16(in + 2 * i));
      return;
    case DType::kBF16:
      for (std::int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load_u16(in + 2 * i));
      return;
    case DType::kI32:
      refuse(from);
    default:
      break;
  }
  Block block;
  for (std::int64_t i = 0; i < n; i += block.elements, in += block_bytes(from)) {
    take_apart(from, in, block);
    widen(from, block, out + i);
  }
}

void encode_row(DType to, const float* in, std::byte* out, std::int64_t n) {
  LLM_TP_CHECK(n >= 0 && n % block_elements(to) == 0, "encode_row: whole blocks");
  const int bytes = block_bytes(to);
  switch (to) {
    case DType::kF32:
      if (n > 0) std::memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::kF16:
      for (std::int64_t i = 0; i < n; ++i) store_u16(out + 2 * i, f32_to_f16(in[i]));
      return;
    case DType::kBF16:
      for (std::int64_t i = 0; i < n; ++i) store_u16(out + 2 * i, f32_to_bf16(in[i]));
      return;
    case DType::kQ8_0:
      return for_each_block(n, bytes,
                            [&](std::int64_t at, std::int64_t i) { encode_q8_0(in + i, out + at); });
    case DType::kQ4_0:
      return for_each_block(n, bytes,
                            [&](std::int64_t at, std::int64_t i) { encode_q4_0(in + i, out + at); });
    case DType::kQ4_1:
      return for_each_block(n, bytes,
                            [&](std::int64_t at, std::int64_t i) { encode_q4_1(in + i, out + at); });
    default:
      break;  // formats that are read, not written
  }
  refuse(to);
}

void convert_row(DType from, const std::byte* in, DType to, std::byte* out, std::int64_t n) {
  LLM_TP_CHECK(n >= 0 && n % block_elements(from) == 0 && n % block_elements(to) == 0,
               "convert_row: whole blocks");
  if (from == to) {
    if (n > 0) std::memcpy(out, in, static_cast<std::size_t>(row_bytes(from, n)));
    return;
  }
  // In chunks on the stack: the numbers stay in the first-level cache and `out` needs no alignment.
  std::array<float, 1024> chunk;
  constexpr auto kChunk = static_cast<std::int64_t>(chunk.size());
  for (std::int64_t at = 0; at < n; at += kChunk) {
    const std::int64_t count = std::min(kChunk, n - at);
    decode_row(from, in + row_bytes(from, at), chunk.data(), count);
    encode_row(to, chunk.data(), out + row_bytes(to, at), count);
  }
}

}  // namespace llm_tp

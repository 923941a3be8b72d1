#include "kernels/cpu/packed_kind.h"

#include <array>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/cpu/group_layout.h"

namespace llm_tp::cpu {
namespace {

template <DType D>
float widened(const std::byte* at) {
  if constexpr (D == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, 4);
    return value;
  } else {
    std::uint16_t bits = 0;
    std::memcpy(&bits, at, 2);
    return D == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
}

template <DType D>
void pack_plain(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel) {
  const std::int64_t columns = spec.columns();
  constexpr int kSize = PackedLayout<D>::kBytes / kPanelRows;
  for (std::int64_t k = 0; k < columns; ++k)
    std::memcpy(panel + (k * kPanelRows + lane) * kSize, row + k * kSize, kSize);
}

template <DType D>
void unpack_plain(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out) {
  const std::int64_t columns = spec.columns();
  constexpr int kSize = PackedLayout<D>::kBytes / kPanelRows;
  for (std::int64_t k = 0; k < columns; ++k) out[k] = widened<D>(panel + (k * kPanelRows + lane) * kSize);
}

/// ggml's blocks of 32: f16 d, f16 m where there is one, then the quants, whose nibbles lie as the panel's.
template <DType D>
void pack_block32(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel) {
  const std::int64_t columns = spec.columns();
  using Layout = PackedLayout<D>;
  for (std::int64_t b = 0; b < columns / 32; ++b, panel += Layout::kBytes) {
    std::memcpy(panel + Layout::kScales + 2 * lane, row, 2);
    row += 2;
    if constexpr (Layout::kHasMinimum) {
      std::memcpy(panel + Layout::kMinima + 2 * lane, row, 2);
      row += 2;
    }
    constexpr int kVectors = Layout::kNibbles ? 4 : 8;
    for (int j = 0; j < kVectors; ++j, row += 4)
      std::memcpy(panel + Layout::kQuants + 64 * j + 4 * lane, row, 4);
  }
}

template <DType D>
void unpack_block32(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out) {
  const std::int64_t columns = spec.columns();
  using Layout = PackedLayout<D>;
  for (std::int64_t b = 0; b < columns / 32; ++b, panel += Layout::kBytes, out += 32) {
    const std::byte* quants = panel + Layout::kQuants + 4 * lane;
    const float d = widened<DType::kF16>(panel + Layout::kScales + 2 * lane);
    for (int i = 0; i < 32; ++i) {
      if constexpr (!Layout::kNibbles) {
        out[i] = d * static_cast<float>(static_cast<std::int8_t>(quants[64 * (i / 4) + i % 4]));
      } else {
        const auto byte = static_cast<unsigned>(quants[64 * (i % 16 / 4) + i % 4]);
        const int q = static_cast<int>(i < 16 ? byte & 15u : byte >> 4);
        if constexpr (Layout::kHasMinimum)
          out[i] = d * static_cast<float>(q) + widened<DType::kF16>(panel + Layout::kMinima + 2 * lane);
        else
          out[i] = d * static_cast<float>(q - 8);
      }
    }
  }
}

template <DType D>
constexpr PackedKind plain() {
  return {D, PackedLayout<D>::kColumns, PackedLayout<D>::kBytes, pack_plain<D>, unpack_plain<D>};
}
template <DType D>
constexpr PackedKind block32() {
  return {D, PackedLayout<D>::kColumns, PackedLayout<D>::kBytes, pack_block32<D>, unpack_block32<D>};
}

constexpr std::array kKinds{plain<DType::kF32>(),    plain<DType::kF16>(),    plain<DType::kBF16>(),
                            block32<DType::kQ8_0>(), block32<DType::kQ4_0>(), block32<DType::kQ4_1>()};

}  // namespace

std::int64_t PackedKind::panel_bytes(const WeightSpec& spec) const {
  if (!has_column_scales(dtype)) return spec.columns() / columns * block_bytes;
  const std::int64_t codes = dtype == DType::kInt4Columns
                                 ? PackedLayout<DType::kInt4Columns>::code_bytes(spec.columns())
                                 : PackedLayout<DType::kInt8Columns>::code_bytes(spec.columns());
  return codes + spec.column_groups->count * ColumnLayout<true>::kGroup;
}

const PackedKind& packed_kind(DType dtype) {
  if (const PackedKind* kind = group_kind(dtype)) return *kind;
  for (const PackedKind& kind : kKinds)
    if (kind.dtype == dtype) return kind;
  throw_bug("packed_kind", __FILE__, __LINE__,
            "no packed layout for weights of " + std::string(name_of(dtype)));
}

}  // namespace llm_tp::cpu

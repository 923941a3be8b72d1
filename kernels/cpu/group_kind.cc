#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/group_layout.h"
#include "kernels/cpu/packed_kind.h"

namespace llm_tp::cpu {
namespace {

template <class T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Factors are exact in the width that their format has them in.
template <Factors F>
void put_factor(std::byte* block, std::int64_t lane, float d) {
  if constexpr (F == Factors::kF32) put(block + 4 * lane, d);
  if constexpr (F == Factors::kF16) put(block + 2 * lane, f32_to_f16(d));
  if constexpr (F == Factors::kBF16) put(block + 2 * lane, f32_to_bf16(d));
}
template <Factors F>
float get_factor(const std::byte* block, std::int64_t lane) {
  if constexpr (F == Factors::kF32) return get<float>(block + 4 * lane);
  const auto bits = get<std::uint16_t>(block + 2 * lane);
  return F == Factors::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

/// Where number i of 32 lies: byte of the lane's codes, and for nibbles low or high.
template <class Layout>
std::int64_t code_at(int i, std::int64_t lane) {
  const int k = Layout::kNibbles ? i % 16 : i;
  return 64 * (k / 4) + 4 * lane + k % 4;
}

/// The code of a value: its place in the table of the format, or itself.
template <class Layout>
std::uint8_t code_of(std::int8_t value) {
  if constexpr (Layout::kCodes == Codes::kNonLinear || Layout::kCodes == Codes::kE2m1)
    return static_cast<std::uint8_t>(std::find(Layout::kValues, Layout::kValues + 16, value) -
                                     Layout::kValues);
  return static_cast<std::uint8_t>(value);
}
template <class Layout>
std::int8_t value_of(std::uint8_t code) {
  if constexpr (Layout::kCodes == Codes::kNonLinear || Layout::kCodes == Codes::kE2m1)
    return Layout::kValues[code];
  return static_cast<std::int8_t>(code);
}

template <class Layout>
void put_block(const Block& from, std::int64_t lane, std::byte* block) {
  put_factor<Layout::kFactors>(block, lane, from.d);
  if constexpr (Layout::kMinima != Minima::kNone)
    put(block + Layout::kMinimaAt + 2 * lane, f32_to_f16(-from.dmin));
  if constexpr (Layout::kZeroPoints)
    put(block + Layout::kZeroPointsAt + 2 * lane, static_cast<std::int16_t>(from.offset));
  std::byte* chunk = block + Layout::kHeader;
  for (int first = 0; first < from.elements; first += 32, chunk += Layout::kChunk) {
    for (int run = 0; run < Layout::kRuns; ++run) {
      const auto of = static_cast<std::size_t>(first / 32 * Layout::kRuns + run);
      put(chunk + run * kPanelRows + lane, from.scale[of]);
      if constexpr (Layout::kMinima == Minima::kOfRuns)
        put(chunk + Layout::kRunMinimaAt + run * kPanelRows + lane, from.minimum[of]);
    }
    for (int i = 0; i < 32; ++i) {
      std::byte& at = chunk[Layout::kCodesAt + code_at<Layout>(i, lane)];
      const std::uint8_t code = code_of<Layout>(from.code[static_cast<std::size_t>(first + i)]);
      at =
          Layout::kNibbles && i >= 16 ? at | static_cast<std::byte>(code << 4) : static_cast<std::byte>(code);
    }
  }
}

template <class Layout>
void get_block(const std::byte* block, std::int64_t lane, Block& to) {
  to.d = get_factor<Layout::kFactors>(block, lane);
  if constexpr (Layout::kMinima != Minima::kNone)
    to.dmin = -f16_to_f32(get<std::uint16_t>(block + Layout::kMinimaAt + 2 * lane));
  if constexpr (Layout::kZeroPoints) to.offset = get<std::int16_t>(block + Layout::kZeroPointsAt + 2 * lane);
  const std::byte* chunk = block + Layout::kHeader;
  for (int first = 0; first < to.elements; first += 32, chunk += Layout::kChunk) {
    for (int run = 0; run < Layout::kRuns; ++run) {
      const auto of = static_cast<std::size_t>(first / 32 * Layout::kRuns + run);
      to.scale[of] = get<std::int8_t>(chunk + run * kPanelRows + lane);
      if constexpr (Layout::kMinima == Minima::kOfRuns)
        to.minimum[of] = get<std::uint8_t>(chunk + Layout::kRunMinimaAt + run * kPanelRows + lane);
    }
    for (int i = 0; i < 32; ++i) {
      auto code = std::to_integer<std::uint8_t>(chunk[Layout::kCodesAt + code_at<Layout>(i, lane)]);
      if constexpr (Layout::kNibbles) code = i < 16 ? code & 15 : code >> 4;
      to.code[static_cast<std::size_t>(first + i)] = value_of<Layout>(code);
    }
  }
}

template <class Layout>
void pack_group(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel) {
  Block block;
  for (std::int64_t k = 0; k < spec.columns(); k += block.elements) {
    take_apart(spec.dtype, row, block);
    put_block<Layout>(block, lane, panel);
    row += block_bytes(spec.dtype);
    panel += Layout::bytes(block.elements);
  }
}

template <class Layout>
void unpack_group(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out) {
  Block block;
  block.elements = block_elements(spec.dtype);
  block.run = Layout::kRuns == 0 ? block.elements : 32 / Layout::kRuns;
  block.has_minima = Layout::kMinima != Minima::kNone;
  block.offset = Layout::kOffset;
  block.scale.fill(1);
  block.minimum.fill(1);
  for (std::int64_t k = 0; k < spec.columns(); k += block.elements, panel += Layout::bytes(block.elements)) {
    get_block<Layout>(panel, lane, block);
    widen(spec.dtype, block, out + k);
  }
}

/// q5_0 as q8_0: its 5 bits and their offset fit a byte.
void pack_q5_0(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel) {
  std::array<std::byte, 34> bytes;  // of a block of q8_0
  static const PackedKind& kBytes = packed_kind(DType::kQ8_0);
  WeightSpec one = spec;
  one.dtype = DType::kQ8_0;
  one.cut = {32, 32, 1};
  one.leaves = {0, 1};
  Block block;
  for (std::int64_t k = 0; k < spec.columns(); k += 32, row += block_bytes(spec.dtype)) {
    take_apart(spec.dtype, row, block);
    std::memcpy(bytes.data(), row, 2);
    for (std::size_t i = 0; i < 32; ++i) bytes[2 + i] = static_cast<std::byte>(block.code[i] + block.offset);
    kBytes.pack(one, bytes.data(), lane, panel + k / 32 * kBytes.block_bytes);
  }
}
void unpack_q5_0(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out) {
  packed_kind(DType::kQ8_0).unpack(spec, panel, lane, out);
}

template <class Layout>
void pack_columns(const WeightSpec& spec, const std::byte* row, std::int64_t lane, std::byte* panel) {
  const ColumnGroupsOfRank& groups = *spec.column_groups;
  std::byte* codes = panel + groups.count * Layout::kGroup;
  Block block;
  for (std::int64_t k = 0; k < spec.columns(); ++k, row += block_bytes(spec.dtype)) {
    take_apart(spec.dtype, row, block);
    std::byte* group = panel + groups.of_column[static_cast<std::size_t>(k)] * Layout::kGroup;
    put(group + 4 * lane, block.d);
    put(group + Layout::kZeroPointsAt + 2 * lane, static_cast<std::int16_t>(block.offset));
    std::byte& code = codes[(Layout::kNibbles ? k / 2 : k) * kPanelRows + lane];
    const auto own = static_cast<std::byte>(block.code[0]);
    code = Layout::kNibbles && k % 2 == 1 ? code | own << 4 : own;
  }
}
template <class Layout>
void unpack_columns(const WeightSpec& spec, const std::byte* panel, std::int64_t lane, float* out) {
  const ColumnGroupsOfRank& groups = *spec.column_groups;
  const std::byte* codes = panel + groups.count * Layout::kGroup;
  for (std::int64_t k = 0; k < spec.columns(); ++k) {
    const std::byte* group = panel + groups.of_column[static_cast<std::size_t>(k)] * Layout::kGroup;
    int code = get<std::int8_t>(codes + (Layout::kNibbles ? k / 2 : k) * kPanelRows + lane);
    if (Layout::kNibbles) code = (k % 2 == 1 ? code >> 4 : code) & 15;
    out[k] = get<float>(group + 4 * lane) *
             static_cast<float>(code + get<std::int16_t>(group + Layout::kZeroPointsAt + 2 * lane));
  }
}

template <DType LayoutOf>
PackedKind grouped(DType dtype = LayoutOf) {
  using Layout = PackedLayout<LayoutOf>;
  const int columns = block_elements(dtype);
  return {dtype, columns, Layout::bytes(columns), pack_group<Layout>, unpack_group<Layout>};
}
template <DType D>
PackedKind by_column() {
  return {D, 1, 0, pack_columns<PackedLayout<D>>, unpack_columns<PackedLayout<D>>};
}

}  // namespace

const PackedKind* group_kind(DType dtype) {
  static const std::array kKinds{
      PackedKind{DType::kQ5_0, 32, PackedLayout<DType::kQ8_0>::kBytes, pack_q5_0, unpack_q5_0},
      grouped<DType::kQ5_1>(),
      grouped<DType::kQ2K>(),
      grouped<DType::kQ3K>(),
      grouped<DType::kQ4K>(),
      grouped<DType::kQ5K>(),
      grouped<DType::kQ6K>(),
      grouped<DType::kIQ4NL>(),
      grouped<DType::kIQ4XS>(),
      grouped<DType::kMXFP4>(),
      grouped<DType::kInt4G32>(),
      grouped<DType::kInt4G32>(DType::kInt4G64),
      grouped<DType::kInt4G32>(DType::kInt4G128),
      grouped<DType::kInt8G32>(),
      grouped<DType::kInt8G32>(DType::kInt8G64),
      grouped<DType::kInt8G32>(DType::kInt8G128),
      grouped<DType::kFp8G32>(),
      grouped<DType::kFp8G32>(DType::kFp8G64),
      grouped<DType::kFp8G32>(DType::kFp8G128),
      by_column<DType::kInt4Columns>(),
      by_column<DType::kInt8Columns>()};
  for (const PackedKind& kind : kKinds)
    if (kind.dtype == dtype) return &kind;
  return nullptr;
}

}  // namespace llm_tp::cpu

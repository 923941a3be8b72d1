#include "weights/dummy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "weights/block_formats.h"
#include "weights/matrix_slice.h"
#include "weights/weight_names.h"

namespace llm_tp {
namespace {

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit of the result depends on every bit of x.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;

bool is_norm(WeightRole role) {
  return role == WeightRole::kFinalNorm || role == WeightRole::kAttentionNorm || role == WeightRole::kMlpNorm;
}

/// Rows and columns; {0, 0} where the model has no such tensor.
std::pair<std::int64_t, std::int64_t> extents(const DummyShape& shape, WeightRole role) {
  const auto bias = [](bool present, std::int64_t columns) {
    return present ? std::pair<std::int64_t, std::int64_t>(1, columns)
                   : std::pair<std::int64_t, std::int64_t>(0, 0);
  };
  switch (role) {
    case WeightRole::kEmbedding:
      return {shape.vocabulary, shape.hidden};
    case WeightRole::kLmHead:
      return shape.tied ? std::pair<std::int64_t, std::int64_t>(0, 0)
                        : std::pair(shape.vocabulary, shape.hidden);
    case WeightRole::kFinalNorm:
    case WeightRole::kAttentionNorm:
    case WeightRole::kMlpNorm:
      return {1, shape.hidden};
    case WeightRole::kQuery:
      return {shape.query_rows, shape.hidden};
    case WeightRole::kKey:
    case WeightRole::kValue:
      return {shape.kv_rows, shape.hidden};
    case WeightRole::kOutput:
      return {shape.hidden, shape.query_rows};
    case WeightRole::kQueryBias:
      return bias(shape.qkv_biases, shape.query_rows);
    case WeightRole::kKeyBias:
    case WeightRole::kValueBias:
      return bias(shape.qkv_biases, shape.kv_rows);
    case WeightRole::kOutputBias:
      return bias(shape.output_bias, shape.hidden);
    case WeightRole::kGate:
    case WeightRole::kUp:
      return {shape.mlp_columns, shape.hidden};
    case WeightRole::kDown:
      return {shape.hidden, shape.mlp_columns};
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
      return bias(shape.mlp_biases, shape.mlp_columns);
    case WeightRole::kDownBias:
      return bias(shape.mlp_biases, shape.hidden);
  }
  return {0, 0};
}

}  // namespace

DummySource::DummySource(const DummyShape& shape) : shape_(shape) {
  const auto refuse = [](const std::string& what) {
    throw Error(ExitCode::kConfig, "dummy weights: " + what + "; correct the model's configuration");
  };
  for (const std::int64_t extent :
       {shape.hidden, shape.layers, shape.query_rows, shape.kv_rows, shape.mlp_columns, shape.vocabulary})
    if (extent <= 0) refuse("an extent of " + std::to_string(extent) + ", wanted all above 0");
  if (shape.dtype == DType::kI32) refuse("dtype i32, wanted one of weights");
  const int block = block_elements(shape.dtype);
  for (const std::int64_t columns : {shape.hidden, shape.query_rows, shape.mlp_columns})
    if (columns % block != 0)
      refuse("rows of " + std::to_string(columns) + " numbers, wanted whole blocks of " +
             std::to_string(block) + " (" + std::string(name_of(shape.dtype)) + ")");
  for (int role = 0; role <= static_cast<int>(WeightRole::kDownBias); ++role) {
    const WeightKey key{static_cast<WeightRole>(role), 0};
    const std::optional<WeightInfo> info = find(key);
    if (!info) continue;
    const std::int64_t copies = is_of_layer(key.role) ? shape.layers : 1;
    parameters_ += copies * info->rows * info->columns;
    bytes_ += copies * info->rows * row_bytes(info->dtype, info->columns);
  }
}

std::optional<WeightInfo> DummySource::find(WeightKey key) const {
  const auto [rows, columns] = extents(shape_, key.role);
  if (rows == 0 || key.layer < 0 || key.layer >= (is_of_layer(key.role) ? shape_.layers : 1))
    return std::nullopt;
  const bool plain = is_vector(key.role) && is_quantised(shape_.dtype);
  return WeightInfo{huggingface_name(key), plain ? DType::kF32 : shape_.dtype, rows, columns};
}

void DummySource::read(WeightKey key, Range rows, Range columns, std::byte* out) const {
  const std::optional<WeightInfo> info = find(key);
  LLM_TP_CHECK(info.has_value(), "no tensor " + huggingface_name(key));
  check_slice(*info, rows, columns);
  const bool ones = is_norm(key.role);
  const std::uint64_t tensor = mix(mix(shape_.seed + kGolden) ^ (static_cast<std::uint64_t>(key.role) << 32 |
                                                                 static_cast<std::uint32_t>(key.layer)));
  // Uniform on [-a, a) has standard deviation a / sqrt(3).
  const auto bound = static_cast<float>(std::sqrt(3.0 / static_cast<double>(info->columns)));
  std::array<float, 1024> chunk;
  constexpr auto kChunk = static_cast<std::int64_t>(chunk.size());
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t at = columns.begin; at < columns.end; at += kChunk) {
      const std::int64_t count = std::min(kChunk, columns.end - at);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto index = static_cast<std::uint64_t>(row * info->columns + at + i);
        const auto draw = static_cast<std::int32_t>(mix(tensor + kGolden * (index + 1)) >> 40);  // 24 bits
        chunk[static_cast<std::size_t>(i)] =
            ones ? 1.0f : static_cast<float>(draw - (1 << 23)) * 0x1p-23f * bound;
      }
      encode_row(info->dtype, chunk.data(), out, count);
      out += row_bytes(info->dtype, count);
    }
  }
}

}  // namespace llm_tp

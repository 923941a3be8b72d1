#include "weights/dummy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

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
  switch (role) {
    case WeightRole::kFinalNorm:
    case WeightRole::kAttentionNorm:
    case WeightRole::kMlpNorm:
    case WeightRole::kAttentionPostNorm:
    case WeightRole::kMlpPostNorm:
    case WeightRole::kQueryNorm:
    case WeightRole::kKeyNorm:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::uint64_t DummySource::number_of(WeightKey key) noexcept {
  return static_cast<std::uint64_t>(key.role) << 48 | static_cast<std::uint64_t>(key.layer & 0xffffff) << 24 |
         static_cast<std::uint64_t>(key.expert & 0xffffff);
}

DummySource::DummySource(const std::vector<DummyTensor>& tensors, DType dtype, std::uint64_t seed)
    : dtype_(dtype), seed_(seed) {
  const auto refuse = [](const std::string& what) {
    throw Error(ExitCode::kConfig, "dummy weights: " + what + "; correct the model's configuration");
  };
  if (dtype == DType::kI32) refuse("dtype i32, wanted one of weights");
  const int block = block_elements(dtype);
  for (const DummyTensor& tensor : tensors) {
    for (const std::int64_t extent : {tensor.rows, tensor.columns})
      if (extent <= 0) refuse("an extent of " + std::to_string(extent) + ", wanted all above 0");
    if (!is_vector(tensor.key.role) && tensor.columns % block != 0)
      refuse("rows of " + std::to_string(tensor.columns) + " numbers, wanted whole blocks of " +
             std::to_string(block) + " (" + std::string(name_of(dtype)) + ")");
    tensors_[number_of(tensor.key)] = tensor;
    const WeightInfo info = find(tensor.key).value();
    parameters_ += info.rows * info.columns;
    bytes_ += info.rows * row_bytes(info.dtype, info.columns);
  }
}

std::optional<WeightInfo> DummySource::find(WeightKey key) const {
  const auto at = tensors_.find(number_of(key));
  if (at == tensors_.end() || !(at->second.key == key)) return std::nullopt;
  const bool plain = is_vector(key.role) && is_quantised(dtype_);
  return WeightInfo{huggingface_name(key), plain ? DType::kF32 : dtype_, at->second.rows, at->second.columns};
}

void DummySource::read(WeightKey key, Range rows, Range columns, std::byte* out) const {
  const std::optional<WeightInfo> info = find(key);
  LLM_TP_CHECK(info.has_value(), "no tensor " + huggingface_name(key));
  check_slice(*info, rows, columns);
  const bool ones = is_norm(key.role);
  const std::uint64_t tensor = mix(mix(seed_ + kGolden) ^ number_of(key));
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

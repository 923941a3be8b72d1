#include "weights/gguf_source.h"
#include "weights/ggml_types.h"

#include <string>
#include <utility>

#include "weights/ggml_types.h"
#include "weights/matrix_slice.h"
#include "weights/weight_names.h"

namespace llm_tp {

GgufSource::GgufSource(std::shared_ptr<const GgufFile> file, bool interleaved)
    : file_(std::move(file)), interleaved_(interleaved) {
  if (!interleaved_) return;
  const std::string architecture(file_->string("general.architecture").value_or(""));
  query_heads_ = file_->integer(architecture + ".attention.head_count").value_or(0);
  kv_heads_ = file_->integer(architecture + ".attention.head_count_kv").value_or(query_heads_);
  rotary_ = file_->integer(architecture + ".rope.dimension_count").value_or(0);
  if (query_heads_ <= 0 || kv_heads_ <= 0)
    refuse(architecture + ".attention.head_count " + std::to_string(query_heads_) + " and head_count_kv " +
           std::to_string(kv_heads_) +
           ", wanted both above 0; the order of the rows of q and k depends on them");
  if (rotary_ < 0 || rotary_ % 2 != 0)
    refuse(architecture + ".rope.dimension_count " + std::to_string(rotary_) + ", wanted an even number");
}

void GgufSource::refuse(const std::string& what) const {
  throw Error(ExitCode::kBadData, file_->file_name() + ": " + what);
}

std::int64_t GgufSource::Interleaving::row_in_file(std::int64_t row) const noexcept {
  const std::int64_t in_head = row % head;
  if (in_head >= rotary) return row;
  const std::int64_t half = rotary / 2;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

std::optional<GgufSource::Interleaving> GgufSource::interleaving(WeightKey key, std::int64_t rows) const {
  const bool query = key.role == WeightRole::kQuery || key.role == WeightRole::kQueryBias;
  const bool kv = key.role == WeightRole::kKey || key.role == WeightRole::kKeyBias;
  if (!interleaved_ || (!query && !kv)) return std::nullopt;
  const std::int64_t heads = query ? query_heads_ : kv_heads_;
  const std::int64_t head = rows / heads;
  if (rows % heads != 0 || head == 0 || head % 2 != 0)
    refuse("tensor " + gguf_name(key) + " has " + std::to_string(rows) +
           " rows, wanted heads of an even number for each of " + std::to_string(heads) +
           "; metadata and tensors do not belong together");
  return Interleaving{head, rotary_ > 0 && rotary_ < head ? rotary_ : head};
}

WeightInfo GgufSource::info_of(const GgufTensor& tensor, WeightKey key) const {
  const std::optional<DType> dtype = dtype_of_ggml(tensor.type);
  if (!dtype)
    refuse("tensor " + std::string(tensor.name) + " is of type " + ggml_type_name(tensor.type) +
           ", wanted F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS or MXFP4; "
           "use a file quantised to one of these");
  const int wanted = is_of_expert(key.role) ? 3 : 2;
  if (wanted == 3 && (tensor.dimensions != 3 || key.expert >= tensor.extents[2]))
    refuse("tensor " + std::string(tensor.name) + " has " + std::to_string(tensor.dimensions) +
           " dimensions and no expert " + std::to_string(key.expert));
  if (tensor.dimensions > wanted)
    refuse("tensor " + std::string(tensor.name) + " has " + std::to_string(tensor.dimensions) +
           " dimensions, wanted a vector or a matrix; the model is of another kind");
  return {std::string(tensor.name), *dtype, tensor.extents[1], tensor.extents[0]};
}

std::span<const std::byte> GgufSource::data_of(const GgufTensor& tensor, WeightKey key) const {
  if (!is_of_expert(key.role)) return tensor.data;
  const std::size_t bytes = tensor.data.size() / static_cast<std::size_t>(tensor.extents[2]);
  return tensor.data.subspan(static_cast<std::size_t>(key.expert) * bytes, bytes);
}

std::optional<WeightInfo> GgufSource::find(WeightKey key) const {
  const GgufTensor* tensor = file_->tensor(gguf_name(key));
  if (!tensor) return std::nullopt;
  WeightInfo info = info_of(*tensor, key);
  const bool vector = is_vector(key.role);
  const auto order = interleaving(key, vector ? info.columns : info.rows);
  if (vector && order && is_quantised(info.dtype))
    refuse("tensor " + info.name + " is a bias of type " + ggml_type_name(tensor->type) +
           ", wanted F32, F16 or BF16");
  return info;
}

void GgufSource::read(WeightKey key, Range rows, Range columns, std::byte* out) const {
  const std::optional<WeightInfo> info = find(key);
  LLM_TP_CHECK(info.has_value(), "no tensor " + gguf_name(key));
  const std::span<const std::byte> data = data_of(*file_->tensor(gguf_name(key)), key);
  const bool vector = is_vector(key.role);
  const auto order = interleaving(key, vector ? info->columns : info->rows);
  if (!order) return copy_slice(*info, data, rows, columns, out);

  check_slice(*info, rows, columns);
  if (rows.empty() || columns.empty()) return;
  if (vector) {  // the heads lie along the columns
    const std::int64_t bytes = row_bytes(info->dtype, 1);
    for (std::int64_t i = columns.begin; i < columns.end; ++i, out += bytes) {
      const std::int64_t from = order->row_in_file(i);
      copy_slice(*info, data, rows, {from, from + 1}, out);
    }
    return;
  }
  const std::int64_t bytes = row_bytes(info->dtype, columns.size());
  for (std::int64_t i = rows.begin; i < rows.end; ++i, out += bytes) {
    const std::int64_t from = order->row_in_file(i);
    copy_slice(*info, data, {from, from + 1}, columns, out);
  }
}

void GgufSource::release(WeightKey key) const {
  if (const GgufTensor* tensor = file_->tensor(gguf_name(key))) file_->release(data_of(*tensor, key));
}

std::int64_t GgufSource::parameters() const {
  std::int64_t sum = 0;
  for (const GgufTensor& tensor : file_->tensors()) sum += tensor.elements;
  return sum;
}

}  // namespace llm_tp

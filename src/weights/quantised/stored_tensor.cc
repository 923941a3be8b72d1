#include "weights/quantised/stored_tensor.h"

#include "base/error.h"

namespace llm_tp {
namespace {

std::string shown(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

}  // namespace

void refuse_tensor(const StoredTensor& tensor, const std::string& what) {
  throw Error(
      ExitCode::kBadData,
      tensor.name + " " + what + "; the checkpoint contradicts itself or its config.json: download it again");
}

StoredTensor require_tensor(const TensorFinder& find, const std::string& name, const std::string& dtypes) {
  std::optional<StoredTensor> tensor = find(name);
  if (!tensor)
    throw Error(ExitCode::kBadData,
                "the quantised checkpoint lacks the tensor " + name + " that others need: download it again");
  if ((" " + dtypes + " ").find(" " + tensor->dtype + " ") == std::string::npos)
    refuse_tensor(*tensor, "is of dtype " + tensor->dtype + ", wanted one of " + dtypes);
  return *std::move(tensor);
}

void require_shape(const StoredTensor& tensor, const std::vector<std::int64_t>& wanted) {
  if (tensor.shape != wanted)
    refuse_tensor(tensor, "has the shape " + shown(tensor.shape) + ", wanted " + shown(wanted));
}

void require_matrix(const StoredTensor& tensor) {
  if (tensor.shape.size() != 2 || tensor.extent(0) < 1 || tensor.extent(1) < 1)
    refuse_tensor(tensor, "has the shape " + shown(tensor.shape) + ", wanted a matrix");
}

StoredFloats::StoredFloats(StoredTensor tensor) : tensor_(std::move(tensor)) {
  dtype_ = tensor_.dtype == "F32" ? DType::kF32 : tensor_.dtype == "F16" ? DType::kF16 : DType::kBF16;
}

}  // namespace llm_tp

#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "model/adapters/config.h"
#include "model/model_shape.h"
#include "weights/safetensors_header.h"

namespace llm_tp {

/// The adapter of one matrix W [N,K] of the base: W + scale * B A, with A [rank,K] and B [N,rank].
struct AdapterModule {
  WeightKey key;     // of W
  std::string name;  // "model.layers.0.self_attn.q_proj"
  std::int64_t rank = 0;
  float scale = 0;
  SafetensorsTensor a, b;
};

/// A PEFT folder, adapter_config.json and adapter_model.safetensors, for one base model. From headers alone
/// until read(). Any thread may read.
class AdapterFiles {
 public:
  /// Errors: kMissingFile; kBadData names the key or tensor: what AdapterConfig refuses, tensors of modules
  /// that the base does not have or that cannot be adapted (embedding, LM head, experts), shapes that do not
  /// fit, target modules without a tensor and tensors outside the target modules.
  AdapterFiles(const std::filesystem::path& folder, const ModelShape& shape);
  const std::vector<AdapterModule>& modules() const noexcept { return modules_; }
  /// nullptr where that matrix is not adapted.
  const AdapterModule* find(WeightKey key) const;
  /// Rows x columns of a module's a or b as f32, row after row without gaps.
  void read(const SafetensorsTensor& tensor, Range rows, Range columns, float* out) const;

 private:
  void check_tensor(const SafetensorsTensor& tensor, std::int64_t rows, std::int64_t columns) const;

  MappedFile file_;
  std::vector<AdapterModule> modules_;
};

}  // namespace llm_tp

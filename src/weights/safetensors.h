#pragma once
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "weights/quantised/matrix.h"
#include "weights/safetensors_header.h"
#include "weights/weight_names.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// A Hugging Face folder: model.safetensors, or model.safetensors.index.json and the files it names;
/// quantised as its config.json states (weights/quantised), or not. Thread-safe.
class SafetensorsSource final : public WeightSource {
 public:
  /// Maps all files and checks their headers, and the column groups of quantised tensors. kMissingFile where
  /// the folder has no weights or lacks a shard; kBadData where a file is broken, the index does not match
  /// the files, or the quantisation is of an unknown kind or contradicts the tensors.
  /// own_names outlive the source.
  explicit SafetensorsSource(const std::filesystem::path& folder, TensorNames own_names = {});

  /// kBadData where the tensor is of a dtype other than F32, F16 and BF16, or has neither one nor two
  /// dimensions.
  std::optional<WeightInfo> find(WeightKey key) const override;
  void read(WeightKey key, Range rows, Range columns, std::byte* out) const override;
  void release(WeightKey key) const override;
  std::int64_t file_bytes() const override;
  std::int64_t parameters() const override { return parameters_; }

 private:
  struct Entry {
    std::size_t file;  // of files_
    SafetensorsTensor tensor;
  };
  void add_file(const std::filesystem::path& path);
  void check_index(const std::filesystem::path& index,
                   const std::unordered_map<std::string, std::string>& files) const;
  const Entry* entry(WeightKey key) const;
  const QuantisedMatrix* quantised(WeightKey key) const;
  WeightInfo info_of(const Entry& entry) const;

  void find_quantised(const std::filesystem::path& folder);

  TensorNames names_;
  std::vector<MappedFile> files_;
  std::unordered_map<std::string, Entry> entries_;
  std::unordered_map<std::string, std::unique_ptr<QuantisedMatrix>> quantised_;  // by the name of the weight
  std::int64_t parameters_ = 0;
};

}  // namespace llm_tp

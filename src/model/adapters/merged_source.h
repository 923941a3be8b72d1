#pragma once
#include <memory>

#include "model/adapters/files.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// A checkpoint with an adapter merged in as it is read: W + scale * B A, summed in double and rounded once,
/// to the dtype of W in the file. Thread-safe.
class MergedSource final : public WeightSource {
 public:
  /// Errors: kBadData names an adapted tensor that is quantised: its rows cannot be changed without
  /// quantising them anew.
  MergedSource(std::unique_ptr<WeightSource> base, AdapterFiles adapter);
  std::optional<WeightInfo> find(WeightKey key) const override { return base_->find(key); }
  void read(WeightKey key, Range rows, Range columns, std::byte* out) const override;
  void release(WeightKey key) const override { base_->release(key); }
  std::int64_t file_bytes() const override { return base_->file_bytes(); }
  std::int64_t parameters() const override { return base_->parameters(); }

 private:
  std::unique_ptr<WeightSource> base_;
  AdapterFiles adapter_;
};

}  // namespace llm_tp

#pragma once
#include <memory>
#include <string>
#include <vector>

#include "weights/quantised/config.h"
#include "weights/quantised/stored_tensor.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// A weight matrix [rows, columns] that a checkpoint keeps in several tensors: codes, scales, zero points.
/// Immutable; any thread may read.
class QuantisedMatrix {
 public:
  virtual ~QuantisedMatrix() = default;
  const WeightInfo& info() const noexcept { return info_; }
  /// Bytes in the maps that were used up once all rows are read.
  const std::vector<std::span<const std::byte>>& parts() const noexcept { return parts_; }
  /// As WeightSource::read.
  virtual void read(Range rows, Range columns, std::byte* out) const = 0;

 protected:
  WeightInfo info_;
  std::vector<std::span<const std::byte>> parts_;
};

/// The matrix of a module ("model.layers.0.mlp.up_proj"); nullptr where the module is not quantised.
/// Everything but the codes, scales and zero points themselves is checked. Errors: kBadData names the tensor.
std::unique_ptr<QuantisedMatrix> make_quantised_matrix(const QuantisationConfig& config,
                                                       const TensorFinder& find, const std::string& module);

/// The largest of 128, 64 and 32 that divides both; 0 where none does.
std::int64_t block_of(std::int64_t columns, std::int64_t group) noexcept;

// One file a method.
std::unique_ptr<QuantisedMatrix> make_gptq(const QuantisationConfig&, const TensorFinder&,
                                           const std::string& module);
std::unique_ptr<QuantisedMatrix> make_awq(const QuantisationConfig&, const TensorFinder&,
                                          const std::string& module);
std::unique_ptr<QuantisedMatrix> make_fp8(const QuantisationConfig&, const TensorFinder&,
                                          const std::string& module);
std::unique_ptr<QuantisedMatrix> make_compressed(const QuantisationConfig&, const TensorFinder&,
                                                 const std::string& module);

}  // namespace llm_tp

#pragma once
#include <optional>

#include "config/engine_config.h"
#include "engine/agreement.h"
#include "kernels/device.h"

namespace llm_tp {

/// The model and device choices of a configuration, resolved.
struct ModelChoices {
  std::optional<DType> weight_dtype;  // nullopt: the file's
  DType kv_dtype = DType::kF16;
  ActivationKind activations = ActivationKind::kInt8;
  int threads = 1;
  bool expert_parallel = false;

  /// Errors: kConfig for a combination that is not there.
  static ModelChoices of(const EngineConfig& config, const Group& group);
};

/// Errors: kConfig for fp8 and int8.
DType kv_dtype_of(KvDType choice);

}  // namespace llm_tp

#pragma once
#include <optional>

#include "config/engine_config.h"
#include "engine/agreement.h"
#include "engine/model_files.h"
#include "kernels/device.h"
#include "model/model_shape.h"

namespace llm_tp {

/// The model and device choices of a configuration, resolved.
struct ModelChoices {
  std::optional<DType> weight_dtype;  // nullopt: the file's
  DType kv_dtype = DType::kF16;
  int threads = 1;
  bool expert_parallel = false;
  std::vector<AdapterChoice> adapters;  // of the model, not of a draft model
  std::string merged_adapter;           // one of them, or empty

  /// Errors: kConfig for a combination that is not there.
  static ModelChoices of(const EngineConfig& config, const Group& group);
};

/// `activations: auto` is by the model's shape alone, so that all ranks agree: exact in models narrower than
/// kNarrowHidden, whose products are too small for speed to matter and which are run to be compared; rounded
/// to int8 in others.
constexpr std::int64_t kNarrowHidden = 512;
ActivationKind activations_of(Activations choice, const ModelShape& shape);

DType kv_dtype_of(KvDType choice);

}  // namespace llm_tp

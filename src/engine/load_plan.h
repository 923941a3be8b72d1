#pragma once
#include <cstdint>

#include "config/engine_config.h"
#include "engine/model_files.h"

namespace llm_tp {

/// What rank 0 decides before anything is loaded, for all ranks.
struct LoadPlan {
  std::int64_t kv_tokens = 0;  // positions of all sequences that run at once, page by page
  std::int64_t most_rows = 1;  // of a step
  std::int64_t sequences = 1;  // that run at once
  bool draft = false;          // the draft model is loaded too, with as many positions
  // Above 0: where memory is short, kv_tokens may shrink down to this; else the run is refused.
  std::int64_t least_kv_tokens = 0;
  bool prefix_cache = false;  // prompts start from pages of earlier requests

  /// Room for config.max_batch sequences of any length: for batch and serve. Errors: kUsage for a max_context
  /// above the model's.
  static LoadPlan for_many(const EngineConfig& config, const ModelFiles& files);
};

}  // namespace llm_tp

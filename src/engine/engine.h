#pragma once
#include <functional>
#include <memory>

#include "config/engine_config.h"
#include "engine/agreement.h"
#include "engine/leader.h"
#include "engine/memory_plan.h"
#include "engine/model_choices.h"
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

/// A device that is asked for sizes only.
std::unique_ptr<DeviceBackend> make_sizing_device();
/// This rank's CPU as the choices want it.
std::unique_ptr<DeviceBackend> make_device(const ModelChoices& choices, ActivationKind activations,
                                           const Group& group);

/// One rank's engine, loaded and ready. `prepare` runs on rank 0 with headers read and nothing loaded; it
/// says how much room is needed and may refuse. `lead` runs on rank 0 once all ranks are ready; the others
/// work until it returns. Every rank calls it with the same configuration. Errors: AgreedError from
/// preparation and loading; what a step throws is this rank's own.
void run_engine(const Group& group, const EngineConfig& config,
                const std::function<LoadPlan(ModelFiles&)>& prepare,
                const std::function<void(Leader&, const ModelFiles&, double load_seconds)>& lead);

}  // namespace llm_tp

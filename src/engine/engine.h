#pragma once
#include <functional>
#include <memory>

#include "config/engine_config.h"
#include "engine/agreement.h"
#include "engine/leader.h"
#include "engine/load_plan.h"
#include "engine/memory_plan.h"
#include "engine/model_choices.h"
#include "engine/model_files.h"

namespace llm_tp {

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

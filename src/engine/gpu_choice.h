#pragma once
#include <optional>

#include "config/engine_config.h"
#include "engine/agreement.h"

namespace llm_tp {

/// Collective: the number of this rank's GPU, or nothing where the ranks compute on CPUs. kAuto takes GPUs
/// where every rank has one of its own. Rank i of a host takes the i-th GPU that it sees, round about, so
/// that it is its own GPU both where all ranks see all and where each sees one (srun --gpus-per-task=1).
/// Errors: AgreedError, kUnavailable, for kCuda: a rank without a GPU, two ranks that would share one, or
/// unlike generations of GPUs with invariant numerics.
std::optional<int> choose_gpu(const Group& group, DeviceChoice choice, Numerics numerics);

}  // namespace llm_tp

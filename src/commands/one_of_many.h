#pragma once
#include <functional>

#include "config/engine_config.h"
#include "engine/agreement.h"

namespace llm_tp {

/// --only-rank R --of N: one process in the place of a group of N ranks. `run` is called with
/// - for the command bench: a group in which rank R is alone and the sums of the others are left out;
/// - for other commands: groups of N ranks that are threads of this process and compute one after the other
/// on one
///   device, so that results are those of N ranks to the bit; of them rank 0 prints.
/// Without only_rank: with `group` itself. Errors: kUsage where the two do not fit, or several ranks were
/// started.
void run_one_of_many(const Group& group, const std::string& command, const EngineConfig& config,
                     const std::function<void(const Group&)>& run);

}  // namespace llm_tp

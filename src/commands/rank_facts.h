#pragma once
#include <string>

#include "commands/json_output.h"
#include "config/engine_config.h"
#include "engine/agreement.h"

namespace llm_tp {

/// What one rank sees of its host, for `doctor`. Bytes; -1 where there is no limit.
///   host, pid, instruction_set, cores [numbers of those that the process may use], memory (available),
///   memlock, open_files, address_space, shared_memory (free in /dev/shm), gpus [{name, id, generation,
///   bytes}], own_gpu (the index of the one that it takes), no_gpu (why), driver, nccl, nccl_usable,
///   why_no_windows (of NCCL, or empty), cublaslt, cublaslt_usable, model (why its files cannot be read, or
///   empty)
Json facts_of_this_rank(const Group& group, const EngineConfig& config);

/// Collective: microseconds that one sum of `numbers` f32 over the ranks takes, on rank 0.
double microseconds_of_a_sum(const Group& group, std::int64_t numbers, int repetitions);

}  // namespace llm_tp

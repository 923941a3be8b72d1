#pragma once
#include <cstddef>
#include <optional>

#include "config/engine_config.h"
#include "engine/agreement.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {

/// Which of the GPUs that this rank sees it takes; 0 where it sees none. Rank i of a host takes the i-th,
/// round about, so that it is its own GPU both where all ranks see all and where each sees one
/// (srun --gpus-per-task=1).
std::size_t gpu_of_rank(const Group& group, std::size_t visible);

/// Collective: the number of this rank's GPU, or nothing where the ranks compute on CPUs. kAuto takes GPUs
/// where every rank has one of its own. Errors: AgreedError, kUnavailable, for kCuda: a rank without a GPU,
/// two ranks that would share one, or unlike generations of GPUs with invariant numerics.
std::optional<int> choose_gpu(const Group& group, DeviceChoice choice, Numerics numerics);

/// How this rank's GPU multiplies. Errors: kConfig for cuBLASLt under invariant numerics, kUnavailable where
/// it is asked for and cannot be used.
ManyTokensAs many_tokens_as(Numerics numerics, GpuProducts products);

}  // namespace llm_tp

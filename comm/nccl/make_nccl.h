#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "comm/nccl/gpu_group.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp {

// What gpu_group.cc takes from NCCL; a build without NCCL has the same functions, whose errors are
// kUnavailable.

/// What names a new group; on rank 0 alone.
std::vector<std::byte> new_nccl_id();
/// Collective: all ranks with the id of rank 0.
std::unique_ptr<Communicator> make_nccl_communicator(CudaBackend& device, Communicator& host,
                                                     ControlChannel& control, std::span<const std::byte> id,
                                                     const GpuGroupOptions& options);

}  // namespace llm_tp

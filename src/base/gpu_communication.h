#pragma once
#include <cstdint>

namespace llm_tp {

/// How GPU ranks add their partial outputs. kAuto: by kernels of our own over CUDA IPC where all ranks are on
/// one host and every GPU can write into the others' memory, and by NCCL for large sums and elsewhere; where
/// neither is there, by way of the host.
enum class GpuCommunication : std::uint8_t { kAuto, kIpc, kNccl, kHost };

/// Whether NCCL's messages go through symmetric windows. kAuto: where the library and the GPUs can.
enum class NcclWindows : std::uint8_t { kAuto, kOn, kOff };

}  // namespace llm_tp

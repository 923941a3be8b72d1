#pragma once
#include <cstdint>

namespace llm_tp {

/// How GPU ranks add their partial outputs. kAuto: by NCCL where all ranks can use it, else by way of the
/// host.
enum class GpuCommunication : std::uint8_t { kAuto, kNccl, kHost };

}  // namespace llm_tp

#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "kernels/device.h"

namespace llm_tp {

// How GPU ranks add their partial outputs. This header needs neither CUDA nor NCCL; builds without them have
// the same functions.

/// Whether NCCL can be used here, and which, or why not.
struct NcclPresence {
  bool usable = false;
  std::string text;  // "NCCL 2.28.9 (libnccl.so.2)", or what is missing and what to do
};
NcclPresence find_nccl();

/// kAuto: NCCL where all ranks can use it, else by way of the host.
enum class GpuSums : std::uint8_t { kAuto, kNccl, kHost };

struct GpuGroupOptions {
  GpuSums sums = GpuSums::kAuto;
  bool tree_order = true;  // else NCCL's own sum: the same from run to run, not for other rank counts
  std::chrono::milliseconds limit{0};     // a rank that lets others wait longer is taken for lost; 0: never
  std::int64_t buffer_numbers = 4 << 20;  // f32 of device memory that NCCL's messages go through, in chunks
};

/// Collective: sums of tensors in the memory of `device`, a CUDA backend. A group of one adds on its device
/// and needs no NCCL. Bytes of the host go on by `host`; NCCL's group is made over `control`. device, host
/// and control must outlive the result. Errors: kUnavailable, on every rank, where NCCL was asked for and a
/// rank lacks it, or where it does not start.
std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    ControlChannel& control, const GpuGroupOptions& options);

}  // namespace llm_tp

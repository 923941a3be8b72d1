#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/gpu_communication.h"
#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "kernels/device.h"

namespace llm_tp {

// How GPU ranks add their partial outputs. This header needs neither CUDA nor NCCL; builds without them have
// the same functions.

/// Whether NCCL can be used here, and which, or why not.
struct NcclPresence {
  bool usable = false;
  std::string text;    // "NCCL 2.28.9 (libnccl.so.2)", or what is missing and what to do
  std::string header;  // "2.28.9": the NCCL that this program was built with; empty: none
};
NcclPresence find_nccl();

/// What all ranks of a group agreed on.
struct GpuSums {
  GpuCommunication way = GpuCommunication::kHost;  // kAuto: one GPU, which needs nobody
  std::vector<std::byte> nccl_id;                  // what names the group to NCCL
};
/// Collective: `wanted`, which is the same on every rank, against what the ranks have. Nothing of it fails on
/// one rank alone. Errors, the same on every rank: kUnavailable where NCCL is wanted and a rank lacks it.
GpuSums choose_gpu_sums(Communicator& host, ControlChannel& control, GpuCommunication wanted);

struct GpuGroupOptions {
  bool tree_order = true;  // else NCCL's own sum: the same from run to run, not for other rank counts
  std::chrono::milliseconds limit{0};     // a rank that lets others wait longer is taken for lost; 0: never
  std::int64_t buffer_numbers = 4 << 20;  // f32 of device memory that NCCL's messages go through, in chunks
};

/// Collective: sums of tensors in the memory of `device`, a CUDA backend. Bytes of the host go on by `host`.
/// device and host must outlive the result. Errors: kUnavailable where NCCL does not start, on the rank where
/// it does not: the others wait for it, so that rank must end the group.
std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    const GpuSums& sums, const GpuGroupOptions& options);

}  // namespace llm_tp

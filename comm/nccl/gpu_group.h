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
  std::string text;            // "NCCL 2.28.9 (libnccl.so.2)", or what is missing and what to do
  std::string why_no_windows;  // of a usable one: what stands against symmetric windows here, or empty
  std::string header;          // "2.28.9": the NCCL that this program was built with; empty: none
};
NcclPresence find_nccl();

constexpr int kMostIpcRanks = 8;  // that CUDA IPC is used for

constexpr std::size_t kMostListedRows = 64 << 10;  // of share_rows(); no step has more

struct GpuGroupOptions {
  GpuCommunication wanted = GpuCommunication::kAuto;
  bool one_host = false;  // all ranks are on it
  NcclWindows windows = NcclWindows::kAuto;
  bool tree_order = true;  // else NCCL's own sum: the same from run to run, not for other rank counts
  std::chrono::milliseconds limit{0};     // a rank that lets others wait longer is taken for lost; 0: never
  std::int64_t buffer_numbers = 4 << 20;  // f32 of device memory that NCCL's messages go through, in chunks
  // f32 of one rank's roots: up to the first every rank gets all roots over CUDA IPC, up to the second slices
  // of them, above it NCCL sums where it may be used.
  std::int64_t ipc_whole_numbers = 128 << 10, ipc_numbers = 1536 << 10;
};

class Mailboxes;

/// What all ranks of a group agreed on.
struct GpuSums {
  GpuCommunication way = GpuCommunication::kHost;  // kAuto: one GPU, which needs nobody
  std::shared_ptr<Mailboxes> mail;                 // of kIpc
  std::vector<std::byte> nccl_id;  // what names the group to NCCL; of kIpc: for large sums, may be empty
};
/// Collective: what options ask for, the same on every rank, against what the ranks have; device: a CUDA
/// backend. Nothing of it fails on one rank alone. Errors, the same on every rank: kUnavailable where CUDA
/// IPC or NCCL is wanted and a rank lacks it.
GpuSums choose_gpu_sums(DeviceBackend& device, Communicator& host, ControlChannel& control,
                        const GpuGroupOptions& options);

/// Collective: sums of tensors in the memory of `device`, a CUDA backend. Bytes of the host go on by `host`.
/// device, host and control must outlive the result. Errors: kUnavailable where NCCL does not start, on the
/// rank where it does not: the others wait for it, so that rank must end the group. AgreedError where a rank
/// has no memory for it, or no windows that are wanted.
std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    ControlChannel& control, const GpuSums& sums,
                                                    const GpuGroupOptions& options);

}  // namespace llm_tp

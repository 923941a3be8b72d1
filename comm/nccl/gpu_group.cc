#include "comm/nccl/gpu_group.h"

#include "base/byte_stream.h"
#include "base/error.h"
#include "base/log.h"
#include "comm/ipc/ipc_communicator.h"
#include "comm/nccl/make_nccl.h"
#include "comm/nccl/one_gpu.h"
#include "comm/staged_communicator.h"

namespace llm_tp {
namespace {

static_assert(kMostIpcRanks <= kMostPeers);

/// What rank 0 tells all ranks.
struct Verdict {
  std::vector<std::byte> nccl_id;  // empty: no NCCL
  std::string why_not;             // of that, empty where all is well
};

/// Collective. Every rank of a group must have NCCL for any to use it.
Verdict agree_on_nccl(Communicator& host, ControlChannel& control) {
  const NcclPresence mine = find_nccl();
  ByteWriter said;
  said.text(mine.usable ? "" : mine.text);
  const auto all = host.gather(said.take());
  Verdict verdict;
  for (std::size_t r = 0; r < all.size() && verdict.why_not.empty(); ++r) {
    const std::string missing = ByteReader(all[r]).text();
    if (!missing.empty()) verdict.why_not = "rank " + std::to_string(r) + ": " + missing;
  }
  if (host.rank() == 0 && verdict.why_not.empty()) {
    try {
      verdict.nccl_id = new_nccl_id();
    } catch (const Error& error) {
      verdict.why_not = error.what();
    }
  }
  ByteWriter out;
  out.list(verdict.nccl_id);
  out.text(verdict.why_not);
  std::vector<std::byte> message = out.take();
  control.broadcast(message);
  ByteReader in(message);
  verdict.nccl_id = in.list<std::byte>();
  verdict.why_not = in.text();
  return verdict;
}

}  // namespace

GpuSums choose_gpu_sums(DeviceBackend& device, Communicator& host, ControlChannel& control,
                        const GpuGroupOptions& options) {
  const GpuCommunication wanted = options.wanted;
  if (wanted == GpuCommunication::kHost) return {};
  GpuSums sums;
  sums.way = GpuCommunication::kAuto;
  if (host.world() == 1) return sums;
  std::string why_no_ipc;
  if (wanted != GpuCommunication::kNccl) {
    if (!options.one_host)
      why_no_ipc = "the ranks are on several hosts";
    else if (host.world() > kMostIpcRanks)
      why_no_ipc = "it is for " + std::to_string(kMostIpcRanks) + " ranks at most";
    else
      sums.mail = exchange_mailboxes(static_cast<CudaBackend&>(device), host, control, why_no_ipc);
  }
  if (sums.mail) sums.way = GpuCommunication::kIpc;
  if (wanted == GpuCommunication::kIpc) {
    if (sums.mail) return sums;
    throw Error(ExitCode::kUnavailable,
                "gpu_communication ipc: " + why_no_ipc + "; --gpu-communication auto does without");
  }
  const Verdict verdict = agree_on_nccl(host, control);
  sums.nccl_id = verdict.nccl_id;
  if (sums.mail) return sums;
  if (host.rank() == 0 && !why_no_ipc.empty())
    log(LogLevel::kDebug, "sums between GPUs do not go by CUDA IPC: " + why_no_ipc);
  if (!sums.nccl_id.empty()) {
    sums.way = GpuCommunication::kNccl;
    return sums;
  }
  if (wanted == GpuCommunication::kNccl)
    throw Error(ExitCode::kUnavailable, "gpu_communication nccl: " + verdict.why_not);
  if (host.rank() == 0)
    log_warning("sums between GPUs go by way of the host, which is slow: " + verdict.why_not +
                "; CUDA IPC: " + why_no_ipc + "; --gpu-communication host says that this is meant");
  return {};
}

std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    ControlChannel& control, const GpuSums& sums,
                                                    const GpuGroupOptions& options) {
  if (sums.way == GpuCommunication::kHost) return std::make_unique<StagedCommunicator>(device, host);
  auto& gpu = static_cast<CudaBackend&>(device);
  if (sums.way == GpuCommunication::kAuto) return std::make_unique<OneGpu>(gpu, host);
  std::unique_ptr<Communicator> nccl;
  if (!sums.nccl_id.empty()) nccl = make_nccl_communicator(gpu, host, control, sums.nccl_id, options);
  if (sums.way == GpuCommunication::kNccl) return nccl;
  return std::make_unique<IpcCommunicator>(gpu, host, control, sums.mail, std::move(nccl), options);
}

}  // namespace llm_tp

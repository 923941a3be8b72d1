#include "comm/nccl/gpu_group.h"

#include "base/byte_stream.h"
#include "base/error.h"
#include "base/log.h"
#include "comm/nccl/make_nccl.h"
#include "comm/nccl/one_gpu.h"
#include "comm/staged_communicator.h"

namespace llm_tp {
namespace {

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

GpuSums choose_gpu_sums(Communicator& host, ControlChannel& control, GpuCommunication wanted) {
  if (wanted == GpuCommunication::kHost) return {};
  if (host.world() == 1) return {GpuCommunication::kAuto, {}};
  const Verdict verdict = agree_on_nccl(host, control);
  if (!verdict.nccl_id.empty()) return {GpuCommunication::kNccl, verdict.nccl_id};
  if (wanted == GpuCommunication::kNccl)
    throw Error(ExitCode::kUnavailable, "gpu_communication nccl: " + verdict.why_not);
  if (host.rank() == 0)
    log_warning("sums between GPUs go by way of the host, which is slow: " + verdict.why_not +
                "; --gpu-communication host says that this is meant");
  return {};
}

std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    const GpuSums& sums, const GpuGroupOptions& options) {
  if (sums.way == GpuCommunication::kHost) return std::make_unique<StagedCommunicator>(device, host);
  auto& gpu = static_cast<CudaBackend&>(device);
  if (sums.way == GpuCommunication::kAuto) return std::make_unique<OneGpu>(gpu, host);
  return make_nccl_communicator(gpu, host, sums.nccl_id, options);
}

}  // namespace llm_tp

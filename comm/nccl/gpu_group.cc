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
  std::vector<std::byte> id;  // empty: no NCCL
  std::string why;            // of that, empty where all is well
};

std::vector<char> characters(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<char>& characters) { return {characters.begin(), characters.end()}; }

/// Collective. Every rank of a group must have NCCL for any to use it.
Verdict agree_on_nccl(Communicator& host, ControlChannel& control) {
  const NcclPresence mine = find_nccl();
  ByteWriter said;
  said.list(characters(mine.usable ? "" : mine.text));
  const auto all = host.gather(said.take());
  Verdict verdict;
  for (std::size_t r = 0; r < all.size() && verdict.why.empty(); ++r) {
    const std::string missing = text_of(ByteReader(all[r]).list<char>());
    if (!missing.empty()) verdict.why = "rank " + std::to_string(r) + ": " + missing;
  }
  if (host.rank() == 0 && verdict.why.empty()) {
    try {
      verdict.id = new_nccl_id();
    } catch (const Error& error) {
      verdict.why = error.what();
    }
  }
  ByteWriter out;
  out.list(verdict.id);
  out.list(characters(verdict.why));
  std::vector<std::byte> message = out.take();
  control.broadcast(message);
  ByteReader in(message);
  verdict.id = in.list<std::byte>();
  verdict.why = text_of(in.list<char>());
  return verdict;
}

}  // namespace

std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    ControlChannel& control, const GpuGroupOptions& options) {
  if (options.sums == GpuSums::kHost) return std::make_unique<StagedCommunicator>(device, host);
  auto& gpu = static_cast<CudaBackend&>(device);
  if (host.world() == 1) return std::make_unique<OneGpu>(gpu, host);
  const Verdict verdict = agree_on_nccl(host, control);
  if (!verdict.id.empty()) return make_nccl_communicator(gpu, host, verdict.id, options);
  if (options.sums == GpuSums::kNccl)
    throw Error(ExitCode::kUnavailable, "gpu_communication nccl: " + verdict.why);
  if (host.rank() == 0)
    log_warning("sums between GPUs go by way of the host, which is slow: " + verdict.why +
                "; --gpu-communication host says that this is meant");
  return std::make_unique<StagedCommunicator>(device, host);
}

}  // namespace llm_tp

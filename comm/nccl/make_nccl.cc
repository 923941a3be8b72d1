#include "comm/nccl/make_nccl.h"

#include <cstring>

#include "base/error.h"
#include "comm/nccl/nccl_communicator.h"
#include "comm/nccl/nccl_library.h"
#include "comm/nccl/nccl_window.h"

namespace llm_tp {

namespace {

/// 22809: 2.28.9.
std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

}  // namespace

NcclPresence find_nccl() {
  const NcclLibrary& nccl = nccl_library();
  const std::string header = version_text(NCCL_VERSION_CODE);
  if (!nccl.missing.empty()) return {false, nccl.missing, "", header};
  int version = 0;
  nccl.get_version(&version);
  return {true, "NCCL " + version_text(version) + " (" + nccl.origin + ")", NcclWindow::why_not(), header};
}

std::vector<std::byte> new_nccl_id() {
  ncclUniqueId id{};
  if (const ncclResult_t result = nccl_library().unique_id(&id); result != ncclSuccess)
    throw Error(ExitCode::kUnavailable,
                std::string("NCCL, ncclGetUniqueId: ") + nccl_library().error_string(result) +
                    "; NCCL_SOCKET_IFNAME chooses a network, --gpu-communication host does without NCCL");
  std::vector<std::byte> bytes(sizeof id);
  std::memcpy(bytes.data(), &id, sizeof id);
  return bytes;
}

std::unique_ptr<Communicator> make_nccl_communicator(CudaBackend& device, Communicator& host,
                                                     ControlChannel& control, std::span<const std::byte> id,
                                                     const GpuGroupOptions& options) {
  ncclUniqueId own{};
  LLM_TP_CHECK(id.size() == sizeof own, "an id that is not NCCL's");
  std::memcpy(&own, id.data(), sizeof own);
  return std::make_unique<NcclCommunicator>(device, host, control, own, options);
}

}  // namespace llm_tp

// Stands in for NCCL in builds of the GPU backend without its header.
#include "base/error.h"
#include "comm/nccl/make_nccl.h"

namespace llm_tp {
namespace {

constexpr const char* kReason =
    "this build has no NCCL; to build with it, give cmake -DNCCL_ROOT=FOLDER, where FOLDER/include/nccl.h is "
    "(docs/cuda.md)";

}  // namespace

NcclPresence find_nccl() { return {false, kReason, "", ""}; }
std::vector<std::byte> new_nccl_id() { throw Error(ExitCode::kUnavailable, kReason); }
std::unique_ptr<Communicator> make_nccl_communicator(CudaBackend&, Communicator&, ControlChannel&,
                                                     std::span<const std::byte>, const GpuGroupOptions&) {
  throw Error(ExitCode::kUnavailable, kReason);
}

}  // namespace llm_tp

// Stands in for sums between GPUs in builds without the GPU backend.
#include "comm/nccl/gpu_group.h"
#include "comm/staged_communicator.h"

namespace llm_tp {

NcclPresence find_nccl() { return {false, "this build has no CUDA backend", "", ""}; }
GpuSums choose_gpu_sums(DeviceBackend&, Communicator&, ControlChannel&, const GpuGroupOptions&) { return {}; }
std::unique_ptr<Communicator> make_gpu_communicator(DeviceBackend& device, Communicator& host,
                                                    ControlChannel&, const GpuSums&, const GpuGroupOptions&) {
  return std::make_unique<StagedCommunicator>(device, host);
}

}  // namespace llm_tp

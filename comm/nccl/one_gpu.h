#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp {

/// A group of one GPU: sum_tree evaluates the tree over its own roots on the device. Calls return once
/// queued. device and host must outlive this.
class OneGpu : public Communicator {
 public:
  OneGpu(CudaBackend& device, Communicator& host) : device_(device), host_(host) {}
  int rank() const override { return 0; }
  int world() const override { return 1; }
  std::string description() const override { return "one GPU"; }
  bool queues_on_device() const override { return true; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room, TensorView mine,
                    const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  CallTimes times() const override { return host_.times(); }

 private:
  CudaBackend& device_;
  Communicator& host_;
};

}  // namespace llm_tp

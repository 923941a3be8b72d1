#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/device.h"

namespace llm_tp {

/// Sums and gathers of tensors in device memory by way of the host: each call waits for the device, copies
/// out, lets a communicator of host memory do the work, and copies back. Needs nothing but that communicator,
/// so it works between any devices; bits are those of the host's sums. One thread, the backend's.
class StagedCommunicator : public Communicator {
 public:
  /// Both must outlive this.
  StagedCommunicator(DeviceBackend& device, Communicator& host) : device_(device), host_(host) {}
  int rank() const override { return host_.rank(); }
  int world() const override { return host_.world(); }
  std::string description() const override;
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  CallTimes times() const override { return {seconds_, host_.times().waiting}; }

 private:
  DeviceBackend& device_;
  Communicator& host_;
  std::vector<float> result_;  // [T,N] on the host
  double seconds_ = 0;         // copies and sums; the host communicator's own seconds are among them
};

}  // namespace llm_tp

#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/device.h"

namespace llm_tp {

/// Stands for a group of `world` ranks of which this process is the only one, to time its part by itself:
/// nothing is sent and nothing waits, so results mean nothing. Its own roots alone are added, bytes are
/// gathered from itself.
class NullCommunicator : public Communicator {
 public:
  /// device: whose tensors are summed; null where none will be. It must outlive this.
  explicit NullCommunicator(int world, DeviceBackend* device = nullptr) : world_(world), device_(device) {}
  int rank() const override { return 0; }
  int world() const override { return world_; }
  std::string description() const override { return "none: the other ranks are left out"; }
  bool queues_on_device() const override { return device_ != nullptr; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  CallTimes times() const override { return {0, 0.0}; }

 private:
  int world_;
  DeviceBackend* device_;
};

}  // namespace llm_tp

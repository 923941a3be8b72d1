#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "comm/ipc/mailboxes.h"
#include "comm/nccl/gpu_group.h"
#include "comm/rank_watch.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp {

/// Sums between GPUs of one host by kernels of our own, in the order of the backend's stream; calls return
/// once queued. Small sums: every rank writes its roots into the mailboxes of all, and each adds them along
/// the tree. Larger ones: every rank adds a slice of the elements and sends it to all. The bits are those of
/// any other communicator. Small sums of whole rows are added to the residual and normed by the same kernel.
/// What is larger still goes by `large`, or in pieces where there is none.
///
/// While the host waits for the device, a rank that died and a wait beyond the limit end in Error(kTryAgain);
/// kernels that wait for that rank are told to stop. out must be contiguous.
class IpcCommunicator : public Communicator {
 public:
  /// Collective. large: may be null. device, host and control must outlive this.
  IpcCommunicator(CudaBackend& device, Communicator& host, ControlChannel& control,
                  std::shared_ptr<Mailboxes> mail, std::unique_ptr<Communicator> large,
                  const GpuGroupOptions& options);
  ~IpcCommunicator() override;
  IpcCommunicator(const IpcCommunicator&) = delete;
  IpcCommunicator& operator=(const IpcCommunicator&) = delete;

  int rank() const override { return host_.rank(); }
  int world() const override { return host_.world(); }
  std::string description() const override;
  bool queues_on_device() const override { return !large_ || large_->queues_on_device(); }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room, TensorView mine,
                    const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  void check_peers(const char* call) override { host_.check_peers(call); }
  MemoryUse own_memory() const override;
  /// Of the host: queueing, and gathers of bytes. What the device takes is not among them.
  CallTimes times() const override { return {seconds_, {}}; }

 private:
  /// Lets kernels end that wait for other ranks.
  void stop_kernels() noexcept;

  CudaBackend& device_;
  Communicator& host_;
  ControlChannel& control_;
  GpuGroupOptions options_;
  std::shared_ptr<Mailboxes> mail_;
  std::unique_ptr<Communicator> large_;
  PinnedMemory stop_;
  PeerGroup group_;
  StepTable owners_;
  RankWatch ranks_;
  double seconds_ = 0;
};

}  // namespace llm_tp

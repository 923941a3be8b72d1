#pragma once
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/peer_sums.h"

namespace llm_tp {

/// A mailbox in the memory of each GPU of a host, mapped into every rank's process by CUDA IPC
/// (kernels/cuda/peer_sums.h).
class Mailboxes {
 public:
  /// This rank's own, zeroed. Errors: kOutOfMemory.
  Mailboxes(CudaBackend& device, int rank, int world);
  /// Without close_together(), as where an error is under way, the memory stays for the end of the process:
  /// other GPUs may still write to it.
  ~Mailboxes() = default;
  Mailboxes(const Mailboxes&) = delete;
  Mailboxes& operator=(const Mailboxes&) = delete;

  cudaIpcMemHandle_t handle() const;
  /// Maps another rank's. Errors: as cuda_error.h says.
  void open(int rank, const cudaIpcMemHandle_t& handle);
  /// Collective, once no GPU works on them: unmaps the others', then frees this rank's own.
  void close_together(Communicator& host, ControlChannel& control);
  /// stop is left out.
  const PeerGroup& group() const noexcept { return group_; }

 private:
  PeerGroup group_;
};

/// Collective: mailboxes that every rank can write to; null where a rank cannot, and why_not says which and
/// why, on every rank.
std::shared_ptr<Mailboxes> exchange_mailboxes(CudaBackend& device, Communicator& host,
                                              ControlChannel& control, std::string& why_not);

}  // namespace llm_tp

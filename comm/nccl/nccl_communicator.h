#pragma once
#include <nccl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/nccl/gpu_group.h"
#include "comm/nccl/nccl_window.h"
#include "comm/rank_watch.h"
#include "comm/try_together.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp {

/// Sums between GPUs in the order of the backend's stream; calls return once queued. One arithmetic: NCCL
/// only moves the roots, and each rank adds them along the tree on its device, so the bits are those of any
/// other communicator. Small sums: the roots of all ranks to every rank. Large ones: every rank receives the
/// roots of its slice of the elements, adds them, and the slices are gathered. Without tree_order NCCL adds.
///
/// Where windows are to be had, collectives of small sums, and NCCL's own sums, go from one half of a
/// symmetric window to the other.
///
/// While the host waits for the device, errors of NCCL, ranks that died and waits beyond the limit end in
/// Error(kTryAgain). out must be contiguous.
class NcclCommunicator : public Communicator {
 public:
  /// Collective: all ranks with the same id. Errors: kUnavailable.
  NcclCommunicator(CudaBackend& device, Communicator& host, ControlChannel& control, const ncclUniqueId& id,
                   const GpuGroupOptions& options);
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return host_.rank(); }
  int world() const override { return host_.world(); }
  std::string description() const override;
  bool queues_on_device() const override { return true; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  /// Of small sums the tree is added by the kernel that norms.
  void sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room, TensorView mine,
                    const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  MemoryUse own_memory() const override;
  /// Of the host: queueing, and gathers of bytes. What the device takes is not among them.
  CallTimes times() const override { return {seconds_, {}}; }

 private:
  /// Destroys the communicator of NCCL, or aborts it while an error is under way: then the others may never
  /// come.
  struct End {
    void operator()(ncclComm_t comm) const;
  };
  /// Numbers of each rank in one buffer: starts and counts.
  struct Parts {
    std::vector<std::int64_t> starts, counts;
  };

  void check(ncclResult_t result, const char* call, ExitCode code = ExitCode::kTryAgain) const;
  /// Waits until NCCL has taken what was started.
  void settle(ncclResult_t result, const char* call, ExitCode code = ExitCode::kTryAgain);
  /// NCCL's asynchronous state, checked: success or in progress.
  ncclResult_t state(const char* call, ExitCode code = ExitCode::kTryAgain) const;
  /// Collective: memory for messages. Errors: AgreedError, where a rank has none, or no window that is
  /// wanted.
  void take_memory(ControlChannel& control);
  /// Collective: a window, or what stands against it.
  std::optional<AgreedError> try_window(ControlChannel& control);
  /// Numbers that a collective can have on their way from one half of the window to the other.
  std::int64_t most_numbers() const {
    return window_ ? options_.buffer_numbers / 2 : options_.buffer_numbers;
  }
  float* second_half() const { return numbers_ + options_.buffer_numbers / 2; }
  /// From where a collective may send what is at `mine`: the second half of the window, or there.
  const float* sent_from(const float* mine, std::int64_t count);
  /// Every rank's part of `all` reaches all ranks; mine [counts[rank]] may lie in its place.
  void gather_parts(float* all, const float* mine, const Parts& parts);
  /// Small sums in tree order: the roots of all ranks go to every rank.
  bool goes_whole(const TreeParts& parts, std::int64_t elements) const;
  /// The roots of all ranks, one after the other, in the buffer.
  void gather_roots(const float* mine, const TreeParts& parts, std::int64_t elements);
  void sum_slices(float* out, const float* mine, const TreeParts& parts, std::int64_t elements, Range chunk);
  void sum_by_nccl(float* out, float* mine, int roots, std::int64_t elements);

  CudaBackend& device_;
  Communicator& host_;
  GpuGroupOptions options_;
  StreamMemory buffer_;
  std::unique_ptr<NcclWindow> window_;  // in its place, where there is one
  float* numbers_ = nullptr;            // options_.buffer_numbers of them
  StepTable own_rows_, places_;
  std::unique_ptr<ncclComm, End> comm_;
  RankWatch ranks_;
  double seconds_ = 0;
};

}  // namespace llm_tp

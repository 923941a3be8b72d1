#pragma once
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/peer_sums.h"

namespace llm_tp::testing {

/// A group of GPUs that write into each other's memory, all on one device: every rank has a stream and a
/// mailbox of its own.
class VirtualRanks {
 public:
  VirtualRanks(CudaBackend& cuda, int world) {
    auto* const stop = reinterpret_cast<std::uint32_t*>(stop_.reserve(sizeof(std::uint32_t)));
    *stop = 0;
    PeerGroup group;
    group.world = world;
    group.stop = stop;
    for (int r = 0; r < world; ++r) {
      mail_.push_back(cuda.allocate(mailbox_bytes(world)));
      group.mail[r] = mail_.back().data();
      streams_.push_back(std::make_unique<CudaStream>());
    }
    cuda.synchronize();  // zeroed
    for (int r = 0; r < world; ++r) {
      group.rank = r;
      groups_.push_back(group);
    }
  }
  int world() const { return static_cast<int>(groups_.size()); }
  const PeerGroup& group(int rank) const { return groups_[static_cast<std::size_t>(rank)]; }
  cudaStream_t stream(int rank) const { return streams_[static_cast<std::size_t>(rank)]->get(); }
  void stop() {
    std::atomic_ref(*reinterpret_cast<std::uint32_t*>(stop_.data())).store(1, std::memory_order_release);
  }
  bool is_done(int rank) const { return streams_[static_cast<std::size_t>(rank)]->is_done(); }
  void wait() const {
    for (int r = 0; r < world(); ++r)
      while (!is_done(r)) std::this_thread::yield();
  }

 private:
  PinnedMemory stop_;
  std::vector<DeviceBuffer> mail_;
  std::vector<std::unique_ptr<CudaStream>> streams_;
  std::vector<PeerGroup> groups_;
};

}  // namespace llm_tp::testing

#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// A duplicate of MPI_COMM_WORLD of its own, so that its messages never meet those of others, and the rule
/// for waiting on it: poll, then yield, then sleep for longer and longer, and look whether the ranks of this
/// host still live. Held as an opaque type: mpi.h stays out of headers.
class MpiWorld;
/// Collective over all ranks. MPI must be initialised and outlive it. more_ranks_than_cores: yield soon. A
/// wait longer than `limit` ends with an error; 0: never. hosts: of each rank, for messages.
std::shared_ptr<MpiWorld> duplicate_mpi_world(bool more_ranks_than_cores, std::chrono::milliseconds limit,
                                              std::vector<std::string> hosts);

/// Sums and gathers through MPI, for ranks on several hosts. Small sums: all roots to all ranks
/// (Iallgatherv), each evaluates the tree. Large ones: every rank receives the roots of its slice
/// (Ialltoallv), sums it, and the slices are gathered. Errors of MPI are kTryAgain: a peer or the network is
/// gone. Ranks that died on another host are the launcher's to notice.
class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(std::shared_ptr<MpiWorld> world, std::string description);
  int rank() const override;
  int world() const override;
  std::string description() const override { return description_; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  void check_peers(const char* call) override;
  /// MPI does not say when the others arrived.
  CallTimes times() const override { return {seconds_, std::nullopt}; }

 private:
  void sum_whole(TensorView out, const float* mine, const TreeParts& parts, std::int64_t elements);
  void sum_slices(TensorView out, const float* mine, const TreeParts& parts, std::int64_t elements,
                  Range chunk);

  std::shared_ptr<MpiWorld> mpi_;
  std::string description_;
  std::vector<float> send_, receive_, result_;
  std::vector<const float*> roots_;
  double seconds_ = 0;
};

/// Control messages through MPI_Ibcast: the size, then the bytes.
class MpiChannel : public ControlChannel {
 public:
  MpiChannel(std::shared_ptr<MpiWorld> world, std::function<void(ExitCode)> end_group);
  int rank() const override;
  int world() const override;
  void broadcast(std::vector<std::byte>& bytes) override;
  void abort(ExitCode code) noexcept override;

 private:
  std::shared_ptr<MpiWorld> mpi_;
  std::function<void(ExitCode)> end_group_;
};

}  // namespace llm_tp

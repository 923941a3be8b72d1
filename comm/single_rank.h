#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// A group of one: no memory is shared, nothing waits. sum_tree evaluates the tree over its own roots.
class SingleRank : public Communicator {
 public:
  int rank() const override { return 0; }
  int world() const override { return 1; }
  std::string description() const override { return "one rank"; }
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  CallTimes times() const override { return {seconds_, 0.0}; }

 private:
  double seconds_ = 0;
};

/// The control channel of a group of one. abort() returns: the caller ends its process itself.
class SingleRankChannel : public ControlChannel {
 public:
  int rank() const override { return 0; }
  int world() const override { return 1; }
  void broadcast(std::vector<std::byte>&) override {}
  void abort(ExitCode) noexcept override {}
};

}  // namespace llm_tp

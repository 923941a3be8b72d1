#pragma once
#include <functional>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "comm/try_together.h"

namespace llm_tp {

/// The ranks of this process's group, as every command gets them.
struct Group {
  Communicator& ranks;
  ControlChannel& control;
  int local_rank = 0, local_ranks = 1;  // on this host
  std::string host;
  // Where the other ranks are left out, to time one by itself: the rank whose share this process holds.
  std::optional<int> only_share = std::nullopt;
  bool one_device = false;  // the ranks compute one after the other on the same device
  int rank() const { return ranks.rank(); }
  int world() const { return ranks.world(); }
  /// The rank of the shard plan whose share this process holds.
  int share() const { return only_share.value_or(rank()); }
  bool leads() const { return ranks.rank() == 0; }
  /// Ranks whose shares lie in the memory that this one sees: its device's own, or its host's.
  int ranks_in_memory(bool of_device) const {
    return one_device ? world() : of_device ? 1 : local_ranks < 1 ? 1 : local_ranks;
  }
};

/// Runs `part` on every rank and waits for all. Where it fails anywhere, the error of the lowest such rank is
/// thrown as AgreedError on all of them, so that a set-up that one rank refuses ends the whole group with one
/// message.
void agree(const Group& group, const std::function<void()>& part);

}  // namespace llm_tp

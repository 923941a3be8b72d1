#pragma once
#include <cstddef>
#include <functional>

#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// A group whose ranks are threads of this process: for tests, and for one host without a launcher. The same
/// code as ranks that are processes of one host; a group of one has no threads and shares nothing.
class LocalGroup {
 public:
  /// slot_bytes: shared memory of a rank for one phase, a multiple of 64; small ones make messages go in
  /// chunks.
  explicit LocalGroup(int world, std::size_t slot_bytes = std::size_t{1} << 20);

  /// Calls rank_main once for every rank, rank 0 on the calling thread, and returns when all are done. A rank
  /// that throws or returns unblocks those that wait for it, with Error(kTryAgain). Rethrows what the lowest
  /// rank threw, but a cause rather than such a consequence. May be called again.
  void run(const std::function<void(Communicator&, ControlChannel&)>& rank_main);

  /// The same with ranks that compute one at a time (turns.h), as one device for all of them wants it.
  void run_in_turn(const std::function<void(Communicator&, ControlChannel&)>& rank_main);

 private:
  int world_;
  std::size_t slot_bytes_;
};

}  // namespace llm_tp

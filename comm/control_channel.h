#pragma once
#include <cstddef>
#include <vector>

#include "base/error.h"

namespace llm_tp {

/// Host bytes from rank 0 to all ranks: step plans, configuration. Waiting ranks use next to no processor
/// time once nothing came for some milliseconds. One thread a rank calls.
class ControlChannel {
 public:
  virtual ~ControlChannel() = default;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  /// Rank 0's bytes replace those of every other rank. Throws Error(kTryAgain) that names a lost rank.
  virtual void broadcast(std::vector<std::byte>& bytes) = 0;
  /// Ends the whole group with this exit code. The caller has printed why. Returns for groups that are
  /// threads.
  virtual void abort(ExitCode code) noexcept = 0;
};

}  // namespace llm_tp

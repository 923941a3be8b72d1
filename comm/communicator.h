#pragma once
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/sum_tree.h"
#include "base/tensor.h"
#include "kernels/device.h"

namespace llm_tp {

/// The run of leaves of every rank of one row-parallel layer, what follows from it, and nothing else. Built
/// once a layer shape; the same on every rank.
class TreeParts {
 public:
  /// leaf_runs[r]: rank r's run; together they cover all leaves once, in rank order; runs may be empty.
  explicit TreeParts(std::vector<Range> leaf_runs);
  int world() const noexcept { return static_cast<int>(counts_.size()); }
  int roots_of_rank(int rank) const { return counts_[static_cast<std::size_t>(rank)]; }
  int first_root_of_rank(int rank) const { return firsts_[static_cast<std::size_t>(rank)]; }
  int total_roots() const noexcept { return total_; }
  /// What every rank does with the roots of all ranks, in rank order (base/sum_tree.h).
  const std::vector<TreeAddition>& additions() const noexcept { return additions_; }

 private:
  std::vector<int> counts_, firsts_;
  int total_ = 0;
  std::vector<TreeAddition> additions_;
};

/// Where one rank's time in a communicator went since it was made.
struct CallTimes {
  double seconds = 0;  // inside calls, waiting included
  /// Of them: from this rank's own arrival in a phase to the last one's. Empty where the transport does not
  /// tell waiting from moving.
  std::optional<double> waiting;
};

/// Sums and gathers of tensors over a group of ranks. All ranks make the same calls in the same order with
/// the same shapes; one thread a rank calls. A rank that is lost or leaves makes the calls of the others
/// throw Error(kTryAgain) that names it, within a second or two; none waits for ever. Tensors lie in the
/// memory of the ranks' devices; sums and rows are in order with the ops queued before and after.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  /// "shared memory, 4 ranks on one host"
  virtual std::string description() const = 0;

  /// One arithmetic: out [T,N] f32 = the sum of the whole tree on every rank; mine [R,T,N] contiguous f32 are
  /// this rank's roots (R = parts.roots_of_rank(rank()), 0 allowed). Bits do not depend on the number of
  /// ranks. mine may be overwritten; out must not alias it.
  virtual void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) = 0;

  /// ops.add_norm(norm, x) with x = sum_tree(room, mine, parts), with the same bits; in fewer passes where
  /// that can be. room [T,N] may be left as it was. ops: of the tensors' device, or what looks at its
  /// results, which then sees them all.
  virtual void sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room, TensorView mine,
                            const TreeParts& parts);

  /// out [T,N] f32 on every rank = the rows of the one rank that owns each: row t comes from rank owners[t].
  /// mine [T,N]: rows of other owners are ignored. Used for the embedding, whose rows are split. out may
  /// alias mine.
  virtual void share_rows(TensorView out, TensorView mine, std::span<const int> owners) = 0;

  /// sum_tree() and share_rows() only queue work on the tensors' device and look at no host memory that
  /// changes, so that a device may record what they queue; share_rows() for the same owners alone.
  virtual bool queues_on_device() const { return false; }

  /// Bytes of every rank on rank 0, in rank order (empty elsewhere). Sizes may differ.
  virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) = 0;

  /// Returns at once, but throws as the calls above do where a rank is known to be lost: for those that wait
  /// for something else, such as a device that waits for the other ranks' devices. `call` names that in the
  /// message.
  virtual void check_peers(const char* /*call*/) {}

  /// Memory of the tensors' device, and pinned, that the group's sums take for themselves as long as they
  /// live; what a library takes beyond that is not among it.
  virtual MemoryUse own_memory() const { return {}; }

  /// Of the calls above that have returned.
  virtual CallTimes times() const = 0;
};

}  // namespace llm_tp

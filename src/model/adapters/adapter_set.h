#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/adapter_id.h"
#include "comm/communicator.h"
#include "model/adapters/weights.h"

namespace llm_tp {

/// Rows of a step that one adapter is for; ascending.
struct AdapterRows {
  AdapterId adapter = 0;
  std::vector<std::int32_t> rows;
};

/// The adapters that one rank has loaded, side by side: sequences of one step may each use another, or none.
/// Rows are gathered by adapter, so that each is two products of matrices; a row's result does not depend on
/// the other rows. All ranks make the same calls in the same order.
class AdapterSet {
 public:
  AdapterSet(DeviceBackend& ops, Communicator& ranks, const ModelShape& shape, const ShardPlan& plan,
             int rank, std::vector<AdapterWeights> adapters, std::int64_t most_rows);
  /// Bytes of its room for steps of most_rows rows, for adapters of at most this rank.
  static std::int64_t workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank,
                                      std::int64_t most_rank, std::int64_t most_rows);
  int count() const noexcept { return static_cast<int>(adapters_.size()); }

  using Place = std::vector<LowRank> LayerAdapter::*;
  /// out [T,N] += scale * B A x for the given rows; x [T,K] is whole on every rank, out is this rank's part.
  void add_whole(std::span<const AdapterRows> rows, int layer, Place place, TensorView out,
                 TensorView x) const;
  /// The same where x [T,K] is this rank's part and out [T,N] is whole on every rank: A x is summed over the
  /// ranks along the tree that the layer's own sums take.
  void add_summed(std::span<const AdapterRows> rows, int layer, Place place, TensorView out, TensorView x,
                  const TreeParts& parts) const;

 private:
  struct Sizes;
  void add(TensorView out, TensorView low, const LowRank& part, std::span<const std::int32_t> rows) const;
  const std::vector<LowRank>& parts_of(const AdapterRows& rows, int layer, Place place) const;

  DeviceBackend& ops_;
  Communicator& ranks_;
  std::vector<AdapterWeights> adapters_;
  DeviceBuffer inputs_, roots_, low_, outputs_;
};

/// What a step says about adapters; empty rows: none is used. Borrowed for the step.
struct StepAdapters {
  const AdapterSet* set = nullptr;
  std::span<const AdapterRows> rows;
  bool any() const noexcept { return !rows.empty(); }
};

}  // namespace llm_tp

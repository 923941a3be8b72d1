#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/engine_config.h"
#include "engine/load_plan.h"
#include "engine/memory_plan.h"
#include "engine/rank_model.h"
#include "kernels/device_error.h"

namespace llm_tp {

/// One rank's view of what a load plan takes of memory and of what there is: of its device's own memory, or
/// of its host's. Made once headers are read and sums between ranks are connected, and before anything of a
/// model is loaded. One thread.
class MemoryRoom {
 public:
  using Caches = std::vector<CacheLimits>;
  using Models = std::vector<std::unique_ptr<RankModel>>;

  /// All must outlive this. most_rows: of a step. Errors: those of DeviceBackend::packed_bytes().
  MemoryRoom(const Group& group, const EngineConfig& config, const Models& models, const DeviceBackend& ops,
             const Communicator& ranks, std::int64_t most_rows);

  /// Of each model.
  std::vector<Caches> caches(const LoadPlan& load) const;
  PlannedMemory planned(const LoadPlan& load, int rank) const;
  /// Collective: shrinks the KV caches of a plan that allows it to what every rank has room for.
  void fit(LoadPlan& load) const;
  /// Errors: kOutOfMemory where this rank has no room for the plan, with what would fit.
  void check(const LoadPlan& load) const;
  /// Throws the error that a device gave while the plan was carried out; one for lack of memory with what
  /// would fit in what the device really had.
  [[noreturn]] void rethrow(const DeviceError& error, const LoadPlan& load, DeviceBackend& ops) const;
  /// Once all is loaded and warm: logs what was planned and what was taken, on rank 0; on every rank a
  /// warning where the two differ, which is a bug.
  void report(const LoadPlan& load) const;

 private:
  /// The most positions, from `least` to what the plan has, for which fits(planned memory of this rank);
  /// least where there are none.
  template <class Fits>
  std::int64_t fitting_positions(const LoadPlan& load, std::int64_t least, const Fits& fits) const;
  /// Of the plan on this rank, in the memory that is its own alone.
  std::int64_t still_needed(const PlannedMemory& planned) const;
  std::string advice(const LoadPlan& load, std::int64_t fitting) const;
  int share() const { return group_.share(); }

  const Group& group_;
  const EngineConfig& config_;
  const Models& models_;
  const DeviceBackend& ops_;
  const Communicator& ranks_;
  std::vector<std::vector<RankMemory>> memory_;  // of each model and rank
  std::optional<std::int64_t> device_free_;      // before anything is loaded; empty: host memory
  MemoryUse in_use_;                             // likewise
};

}  // namespace llm_tp

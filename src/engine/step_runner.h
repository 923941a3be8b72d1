#pragma once
#include <vector>

#include "comm/control_channel.h"
#include "decoding/sampler.h"
#include "model/decoder.h"
#include "schedule/step_plan.h"

namespace llm_tp {

/// What one rank used since it was asked last.
struct RankReport {
  double sum_seconds = 0;  // inside the communicator
  // Bytes. The peak is that of the process since its start; files that are mapped count while they are
  // touched.
  std::int64_t weights_and_kv = 0, peak_memory = 0;
};

/// Runs step plans on one rank. All ranks run the same plans in the same order. One thread.
class StepRunner {
 public:
  StepRunner(Decoder& model, DeviceBackend& ops, KvCache& cache, Communicator& ranks, ControlChannel& control,
             std::int64_t vocabulary, std::int64_t weights_and_kv);
  /// On rank 0: one result for each of plan.scored. Elsewhere: empty.
  std::vector<RowResult> run(const StepPlan& plan);
  /// On rank 0: of every rank. Elsewhere: empty.
  std::vector<RankReport> report();

 private:
  std::vector<RowResult> score(const StepPlan& plan, std::size_t begin, std::size_t end);
  std::vector<RowCandidates> look_at(const StepPlan& plan, std::size_t begin, std::size_t end,
                                     TensorView logits, const std::vector<std::uint8_t>& whole);

  Decoder& model_;
  DeviceBackend& ops_;
  KvCache& cache_;
  Communicator& ranks_;
  ControlChannel& control_;
  std::int64_t vocabulary_unit_;
  std::int64_t weights_and_kv_;
};

}  // namespace llm_tp

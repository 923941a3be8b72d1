#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/control_channel.h"
#include "decoding/sampler.h"
#include "engine/rank_report.h"
#include "engine/row_scorer.h"
#include "model/decoder.h"
#include "schedule/step_plan.h"

namespace llm_tp {

/// A model that steps may run, and the KV pages of each of its groups of layers. Borrowed.
struct ModelWithCaches {
  Decoder* model = nullptr;
  std::vector<KvCache*> caches;
};

/// Runs step plans on one rank. All ranks run the same plans in the same order. One thread.
class StepRunner {
 public:
  /// models: by ModelSlot; the draft model may be missing. All have the same vocabulary.
  StepRunner(std::vector<ModelWithCaches> models, DeviceBackend& ops, Communicator& ranks,
             ControlChannel& control, std::int64_t vocabulary, std::int64_t weights_and_kv);
  /// Runs steps of made-up tokens, one of a single row and one of several, so that a device loads its kernels
  /// and ranks connect before the first request; from then on ops should take no memory. What they leave in
  /// the first pages is what a sequence that ended leaves. Collective.
  void warm_up(std::int64_t most_rows);
  /// On rank 0: one result for each of plan.score.rows. Elsewhere: empty.
  std::vector<RowResult> run(const StepPlan& plan);
  /// On rank 0: of every rank, now. Elsewhere: empty. Collective.
  std::vector<RankReport> report();
  /// On rank 0: what every rank said in report(), or sent along with its candidates in the last step that
  /// scored a row.
  const std::vector<RankReport>& last_reports() const noexcept { return book_.latest(); }
  std::string device() const { return ops_.description(); }

 private:
  void warm_up(std::size_t slot, std::int64_t rows);
  std::vector<RowResult> run_model(const StepPlan& plan);
  std::vector<RowResult> score(const ModelWithCaches& at, RowScorer& scorer, const StepPlan& plan,
                               std::size_t begin, std::size_t end);

  std::vector<ModelWithCaches> models_;
  DeviceBackend& ops_;
  Communicator& ranks_;
  RankBook book_;
  std::vector<RowScorer> scorers_;  // one a model: ranks may cut their vocabularies in other places
};

}  // namespace llm_tp

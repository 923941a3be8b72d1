#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/agreement.h"
#include "engine/memory_plan.h"
#include "engine/model_choices.h"
#include "engine/model_files.h"
#include "engine/step_runner.h"
#include "model/decoder.h"

namespace llm_tp {

/// One rank's part of one model, on its way from file headers to weights and KV pages in memory. One thread.
class RankModel {
 public:
  /// Reads headers alone; rank 0 opens the tokenizer too. Errors: those of ModelFiles, WeightLoader and
  /// ShardPlan.
  RankModel(const std::string& name, const ModelChoices& choices, const std::vector<double>& shares,
            const Group& group);
  /// Of every rank.
  std::vector<RankMemory> memory(const DeviceBackend& ops, std::int64_t most_rows) const;
  /// ranks: those whose sums are over tensors of the device. sequences: of a step, which have so many
  /// positions together.
  void load(DeviceBackend& ops, Communicator& ranks, std::int64_t most_rows, std::int64_t sequences,
            std::int64_t positions, std::span<const CacheLimits> caches, int page_tokens);
  ModelFiles& files() noexcept { return files_; }
  ModelWithCaches loaded() const;

 private:
  const Group& group_;
  ModelChoices choices_;
  ModelFiles files_;
  std::unique_ptr<WeightLoader> loader_;
  ShardPlan plan_;
  std::unique_ptr<Decoder> model_;
  std::vector<std::unique_ptr<KvCache>> caches_;  // of each group of layers
};

/// Errors: kUsage where the draft model's tokens are not the model's; tokenizers are compared where both are
/// open.
void require_same_vocabulary(const ModelFiles& model, const ModelFiles& draft);

}  // namespace llm_tp

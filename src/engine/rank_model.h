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
  /// How much is loaded for.
  struct Room {
    std::int64_t most_rows = 1;  // of a step
    std::int64_t sequences = 1;  // of a step, which have so many positions together
    std::int64_t positions = 0;
    std::span<const CacheLimits> caches;
    int page_tokens = 16;
  };
  /// What a rank, whose memory() this is, asks of its device. sums_on_device:
  /// Communicator::queues_on_device().
  ModelNeeds needs(const RankMemory& memory, int rank, const Room& room, bool sums_on_device) const;
  /// ranks: those whose sums are over tensors of the device.
  void load(DeviceBackend& ops, Communicator& ranks, const Room& room);
  ModelFiles& files() noexcept { return files_; }
  ModelWithCaches loaded() const;

 private:
  /// Of the cache of a group of layers, room.caches[number].
  KvShape cache_shape(const RankShare& share, const KvGroup& group, const Room& room,
                      std::size_t number) const;

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

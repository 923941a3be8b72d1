#include "engine/rank_model.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/log.h"

namespace llm_tp {
namespace {

/// One line on rank 0, at most every second, and none for a load that is over at once.
class LoadProgress {
 public:
  explicit LoadProgress(bool speaks) : speaks_(speaks) {}
  void operator()(std::int64_t done, std::int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!speaks_ || now - last_ < std::chrono::seconds(1)) return;
    last_ = now;
    log_info("loading weights: " + std::to_string(100 * done / std::max<std::int64_t>(total, 1)) + "% of " +
             memory_text(total) + " for rank 0");
  }

 private:
  bool speaks_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

RankModel::RankModel(const std::string& name, const ModelChoices& choices, const std::vector<double>& shares,
                     const Group& group)
    : group_(group), choices_(choices), files_(ModelFiles::open(name, group.leads())) {
  files_.open_adapters(choices.adapters, choices.merged_adapter);
  loader_ = std::make_unique<WeightLoader>(files_.shape, *files_.weights, choices.weight_dtype);
  plan_ = ShardPlan::make(files_.shape, group.world(), loader_->units(), shares, choices.expert_parallel);
}

std::vector<RankMemory> RankModel::memory(const DeviceBackend& ops, std::int64_t most_rows) const {
  std::vector<RankMemory> all = plan_memory(files_.shape, *loader_, plan_, ops, choices_.kv_dtype, most_rows);
  std::int64_t most_rank = 0;
  for (const ModelFiles::Adapter& adapter : files_.adapters)
    for (const AdapterModule& module : adapter.files.modules()) most_rank = std::max(most_rank, module.rank);
  for (int rank = 0; most_rank > 0 && rank < std::ssize(all); ++rank) {
    RankMemory& memory = all[static_cast<std::size_t>(rank)];
    for (const ModelFiles::Adapter& adapter : files_.adapters)
      memory.weights += adapter_bytes(adapter.files, files_.shape, plan_, rank, ops, memory.kinds);
    memory.workspace += AdapterSet::workspace_bytes(files_.shape, plan_, rank, most_rank, most_rows);
  }
  return all;
}

ModelNeeds RankModel::needs(const RankMemory& memory, int rank, const Room& room, bool sums_on_device) const {
  const ModelShape& shape = files_.shape;
  const RankShare& share = plan_.ranks[static_cast<std::size_t>(rank)];
  ModelNeeds needs;
  needs.limits = Decoder::step_limits(shape, plan_, rank, room.most_rows, room.sequences, room.positions,
                                      sums_on_device);
  needs.weights = memory.kinds;
  needs.expert_stacks = memory.expert_stacks;
  if (shape.experts.count > 0) needs.router = shape.experts.rule();
  const std::vector<KvGroup> groups = kv_groups_of(shape);
  for (std::size_t g = 0; g < groups.size(); ++g)
    needs.caches.push_back(
        {cache_shape(share, groups[g], room, g), heads_of(shape, share), groups[g].window});
  return needs;
}

KvShape RankModel::cache_shape(const RankShare& share, const KvGroup& group, const Room& room,
                               std::size_t number) const {
  return kv_shape_of(files_.shape, share, choices_.kv_dtype, group,
                     static_cast<int>(room.caches[number].pages), room.page_tokens);
}

void RankModel::load(DeviceBackend& ops, Communicator& ranks, const Room& room) {
  RankWeights weights = loader_->load(plan_, group_.share(), ops, LoadProgress(group_.leads()));
  model_ = std::make_unique<Decoder>(files_.shape, plan_, group_.share(), std::move(weights), ops, ranks,
                                     room.most_rows);
  std::vector<AdapterWeights> adapters;
  for (const ModelFiles::Adapter& adapter : files_.adapters)
    adapters.push_back(load_adapter(adapter.files, files_.shape, plan_, group_.share(), ops));
  if (!adapters.empty()) model_->adapt(std::move(adapters));
  const RankShare& share = plan_.ranks[static_cast<std::size_t>(group_.share())];
  const std::vector<KvGroup> groups = kv_groups_of(files_.shape);
  for (std::size_t g = 0; g < groups.size(); ++g)
    caches_.push_back(ops.make_kv_cache(cache_shape(share, groups[g], room, g)));
  model_->reserve(loaded().caches, room.sequences, room.positions);
}

ModelWithCaches RankModel::loaded() const {
  ModelWithCaches loaded{model_.get(), {}};
  for (const auto& cache : caches_) loaded.caches.push_back(cache.get());
  return loaded;
}

void require_same_vocabulary(const ModelFiles& model, const ModelFiles& draft) {
  if (model.shape.vocabulary != draft.shape.vocabulary)
    throw Error(ExitCode::kUsage, "draft_model " + draft.name + " has a vocabulary of " +
                                      std::to_string(draft.shape.vocabulary) + " tokens, wanted that of " +
                                      model.name + ", which has " + std::to_string(model.shape.vocabulary));
  if (!model.tokenizer || !draft.tokenizer) return;
  for (TokenId id = 0; id < model.tokenizer->vocabulary_size(); ++id)
    if (model.tokenizer->piece(id, true) != draft.tokenizer->piece(id, true))
      throw Error(ExitCode::kUsage, "draft_model " + draft.name + " has another vocabulary than " +
                                        model.name + ": token " + std::to_string(id) +
                                        " is another text; give a model "
                                        "with the same tokenizer");
}

}  // namespace llm_tp

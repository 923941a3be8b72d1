#include "model/decoder.h"

#include <algorithm>
#include <string>

#include "model/workspace.h"

namespace llm_tp {

std::int64_t Decoder::workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank,
                                      std::int64_t most_rows) {
  return llm_tp::workspace_bytes(shape, plan, rank, most_rows, kScoredRows);
}

StepLimits Decoder::step_limits(const ModelShape& shape, const ShardPlan& plan, int rank,
                                std::int64_t most_rows, std::int64_t slices, std::int64_t positions,
                                bool sums_on_device) {
  return llm_tp::step_limits(shape, plan, rank, most_rows, kScoredRows, slices, positions, sums_on_device);
}

Decoder::Decoder(const ModelShape& shape, const ShardPlan& plan, int rank, RankWeights weights,
                 DeviceBackend& ops, Communicator& ranks, std::int64_t most_rows)
    : shape_(shape),
      plan_(plan),
      rank_(rank),
      share_(plan.ranks[static_cast<std::size_t>(rank)]),
      weights_(std::move(weights)),
      ops_(ops),
      ranks_(ranks),
      most_rows_(most_rows),
      groups_(kv_groups_of(shape)),
      rope_(shape.rope, shape.head_dim),
      sums_(plan),
      workspace_(make_workspace(ops, shape, plan, rank, most_rows, kScoredRows)) {
  if (shape.local_rope) local_rope_.emplace(*shape.local_rope, shape.head_dim);
  for (const RankShare& share : plan.ranks)
    vocabulary_ends_.push_back(static_cast<int>(share.vocab_rows.end));
  for (std::size_t i = 0; i < weights_.layers.size(); ++i)
    layers_.emplace_back(ops, shape_, plan, rank, weights_.layers[i], static_cast<int>(i),
                         i + 1 < weights_.layers.size() ? &weights_.layers[i + 1] : nullptr);
  why_not_recorded_ = find_why_not_recorded();
}

bool Decoder::layers_queue(std::int64_t rows) const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [&](const DecoderLayer& layer) { return layer.queues(ops_, rows); });
}

std::string Decoder::find_why_not_recorded() const {
  if (!ranks_.queues_on_device()) return "sums go by way of the host";
  if (shape_.experts.count > 0 && plan_.whole_experts && plan_.ranks.size() > 1)
    return "the host says which rank has which rows of whole experts";
  if (!layers_queue(1)) return "the host routes tokens to experts";
  if (shape_.style.query_key_norm == QueryKeyNorm::kWhole && ranks_.world() > 1)
    return "norms over the heads of all ranks take tables of their own in every layer";
  return {};
}

void Decoder::embed(TensorView h, std::span<const TokenId> tokens) {
  for (TokenId token : tokens)
    LLM_TP_CHECK(token >= 0 && token < shape_.vocabulary,
                 "a step with token " + std::to_string(token) + ", which is not in the vocabulary");
  ops_.embed(h, tokens, *weights_.embedding, share_.vocab_rows);
  std::vector<int> owners;
  for (TokenId token : tokens)
    owners.push_back(
        static_cast<int>(std::upper_bound(vocabulary_ends_.begin(), vocabulary_ends_.end(), token) -
                         vocabulary_ends_.begin()));
  ranks_.share_rows(h, h, owners);
  if (shape_.embedding_scale != 1) ops_.scale(h, static_cast<float>(shape_.embedding_scale));
}

TensorView Decoder::angles(const Rope& rope, const DeviceBuffer& room, const Batch& batch) {
  std::vector<std::int32_t> lengths;
  for (const BatchSlice& slice : batch.slices)
    for (std::int32_t i = 0; i < slice.rows; ++i)
      lengths.push_back(std::max(slice.first_position + i + 1, slice.prompt_tokens));
  const TensorView out = TensorView::matrix(room.floats(), batch.rows(), rope.rotary());
  angles_.resize(static_cast<std::size_t>(out.rows() * out.columns()));
  rope.fill(TensorView::matrix(angles_.data(), out.rows(), out.columns()), batch.positions, lengths);
  ops_.upload(out.data, std::as_bytes(std::span(angles_)));
  return out;
}

void Decoder::adapt(std::vector<AdapterWeights> adapters) {
  adapters_.emplace(ops_, ranks_, shape_, plan_, rank_, std::move(adapters), most_rows_);
}

void Decoder::reserve(std::span<KvCache* const> caches, std::int64_t slices, std::int64_t positions) {
  const StepLimits limits =
      step_limits(shape_, plan_, rank_, most_rows_, slices, positions, ranks_.queues_on_device());
  std::vector<CacheBatch> batches;
  for (std::size_t g = 0; g < caches.size(); ++g)
    batches.push_back({caches[g], {}, heads_of(shape_, share_), groups_[g].window});
  ops_.reserve(limits, batches);
}

void Decoder::forward(std::span<const KvStep> kv, std::span<const AdapterRows> adapters) {
  LLM_TP_CHECK(adapters.empty() || adapters_, "a step with an adapter that was not loaded");
  LLM_TP_CHECK(kv.size() == groups_.size(), "a step with page tables of another number of caches");
  const Batch& batch = kv.front().batch;
  const std::int64_t rows = batch.rows();
  LLM_TP_CHECK(rows <= most_rows_, "a step with more rows than the workspace has room for");
  const TensorView h = TensorView::matrix(workspace_.hidden.floats(), rows, shape_.hidden);
  embed(h, batch.tokens);
  const StepContext step{ops_,
                         ranks_,
                         workspace_,
                         kv,
                         sums_,
                         angles(rope_, workspace_.angles, batch),
                         local_rope_ ? angles(*local_rope_, workspace_.local_angles, batch) : TensorView{},
                         {adapters_ ? &*adapters_ : nullptr, adapters}};
  const auto run_layers = [&] {
    TensorView x = layers_.front().input(step, h);
    for (const DecoderLayer& layer : layers_) x = layer.forward(step, h, x);
  };
  if (!why_not_recorded_.empty() || !adapters.empty() || !layers_queue(rows)) return run_layers();
  std::vector<CacheBatch> batches;
  for (std::size_t g = 0; g < kv.size(); ++g)
    batches.push_back({kv[g].cache, kv[g].batch, heads_of(shape_, share_), groups_[g].window});
  ops_.run_repeated(batches, run_layers);
}

TensorView Decoder::final_states(std::span<const std::int32_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  LLM_TP_CHECK(count <= kScoredRows, "too many scored rows at once");
  const TensorView states = TensorView::matrix(workspace_.scored.floats(), count, shape_.hidden);
  const TensorView h = TensorView::matrix(workspace_.hidden.floats(), most_rows_, shape_.hidden);
  ops_.gather_rows(states, h, rows);
  ops_.rms_norm(states, states, vector_of(weights_.final_norm, shape_.hidden),
                static_cast<float>(shape_.norm_epsilon));
  return states;
}

TensorView Decoder::head(TensorView states) {
  const TensorView out =
      TensorView::matrix(workspace_.logits.floats(), states.rows(), share_.vocab_rows.size());
  if (!share_.vocab_rows.empty()) {
    ops_.linear(out, states, weights_.head(), {});
    if (shape_.logit_scale != 1) ops_.scale(out, static_cast<float>(shape_.logit_scale));
    if (shape_.logit_cap > 0) ops_.soft_cap(out, static_cast<float>(shape_.logit_cap));
  }
  return out;
}

}  // namespace llm_tp

#include "model/llama_model.h"

#include <algorithm>
#include <string>

namespace llm_tp {
namespace {

TreeParts parts_of(const ShardPlan& plan, Range RankShare::*leaves) {
  std::vector<Range> runs;
  for (const RankShare& share : plan.ranks) runs.push_back(share.*leaves);
  return TreeParts(std::move(runs));
}

/// Floats of each buffer of a Workspace, in the order of its members; one at least, where a rank is idle.
struct WorkspaceSizes {
  std::int64_t hidden, normed, cos_sin, qkv, attended, gate_up, activated, roots, summed, scored, logits;

  WorkspaceSizes(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t rows) {
    const RankShare& share = plan.ranks[static_cast<std::size_t>(rank)];
    const auto most_roots = static_cast<std::int64_t>(
        std::max(roots_of(share.output_leaves).size(), roots_of(share.down_leaves).size()));
    hidden = normed = summed = rows * shape.hidden;
    cos_sin = rows * shape.head_dim;
    attended = rows * share.query_heads.size() * shape.head_dim;
    qkv = attended + 2 * rows * share.kv_heads.size() * shape.head_dim;
    activated = rows * share.mlp_columns.size();
    gate_up = 2 * activated;
    roots = most_roots * rows * shape.hidden;
    scored = LlamaModel::kScoredRows * shape.hidden;
    logits = LlamaModel::kScoredRows * share.vocab_rows.size();
    for (std::int64_t* count : {&qkv, &attended, &gate_up, &activated, &roots, &logits})
      *count = std::max<std::int64_t>(*count, 1);
  }
  std::int64_t bytes() const {
    return 4 * (hidden + normed + cos_sin + qkv + attended + gate_up + activated + roots + summed + scored +
                logits);
  }
};

}  // namespace

std::int64_t LlamaModel::workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank,
                                         std::int64_t most_rows) {
  return WorkspaceSizes(shape, plan, rank, most_rows).bytes();
}

LlamaModel::LlamaModel(const ModelShape& shape, const ShardPlan& plan, int rank, RankWeights weights,
                       DeviceBackend& ops, Communicator& ranks, std::int64_t most_rows)
    : shape_(shape),
      share_(plan.ranks[static_cast<std::size_t>(rank)]),
      weights_(std::move(weights)),
      ops_(ops),
      ranks_(ranks),
      most_rows_(most_rows),
      rope_(shape.rope, shape.head_dim),
      output_parts_(parts_of(plan, &RankShare::output_leaves)),
      down_parts_(parts_of(plan, &RankShare::down_leaves)) {
  for (const RankShare& share : plan.ranks)
    vocabulary_ends_.push_back(static_cast<int>(share.vocab_rows.end));
  for (std::size_t i = 0; i < weights_.layers.size(); ++i)
    layers_.emplace_back(shape_, plan, rank, weights_.layers[i], static_cast<int>(i), output_parts_,
                         down_parts_);
  const WorkspaceSizes n(shape, plan, rank, most_rows);
  const auto floats = [&](std::int64_t count) { return ops_.allocate(static_cast<std::size_t>(count) * 4); };
  workspace_ = {floats(n.hidden),   floats(n.normed),  floats(n.cos_sin),   floats(n.qkv),
                floats(n.attended), floats(n.gate_up), floats(n.activated), floats(n.roots),
                floats(n.summed),   floats(n.scored),  floats(n.logits)};
}

void LlamaModel::forward(const Batch& batch, KvCache& cache) {
  const std::int64_t rows = batch.rows();
  LLM_TP_CHECK(rows <= most_rows_, "a step with more rows than the workspace has room for");
  const TensorView h = TensorView::matrix(workspace_.hidden.floats(), rows, shape_.hidden);
  const TensorView cos_sin = TensorView::matrix(workspace_.cos_sin.floats(), rows, shape_.head_dim);
  angles_.resize(static_cast<std::size_t>(rows * shape_.head_dim));
  rope_.fill(TensorView::matrix(angles_.data(), rows, shape_.head_dim), batch.positions);
  ops_.upload(cos_sin.data, std::as_bytes(std::span(angles_)));

  for (TokenId token : batch.tokens)
    LLM_TP_CHECK(token >= 0 && token < shape_.vocabulary,
                 "a step with token " + std::to_string(token) + ", which is not in the vocabulary");
  ops_.embed(h, batch.tokens, *weights_.embedding, share_.vocab_rows);
  std::vector<int> owners;
  for (TokenId token : batch.tokens)
    owners.push_back(
        static_cast<int>(std::upper_bound(vocabulary_ends_.begin(), vocabulary_ends_.end(), token) -
                         vocabulary_ends_.begin()));
  ranks_.share_rows(h, h, owners);

  const StepContext step{ops_, ranks_, workspace_, cache, batch, cos_sin};
  for (const DecoderLayer& layer : layers_) layer.forward(step, h);
}

TensorView LlamaModel::final_states(std::span<const std::int32_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  LLM_TP_CHECK(count <= kScoredRows, "too many scored rows at once");
  const TensorView states = TensorView::matrix(workspace_.scored.floats(), count, shape_.hidden);
  const TensorView h = TensorView::matrix(workspace_.hidden.floats(), most_rows_, shape_.hidden);
  ops_.gather_rows(states, h, rows);
  ops_.rms_norm(states, states, TensorView::vector(weights_.final_norm.floats(), shape_.hidden),
                static_cast<float>(shape_.norm_epsilon));
  return states;
}

TensorView LlamaModel::head(TensorView states) {
  const TensorView out =
      TensorView::matrix(workspace_.logits.floats(), states.rows(), share_.vocab_rows.size());
  if (!share_.vocab_rows.empty()) ops_.linear(out, states, weights_.head(), {});
  return ops_.on_host(out);
}

}  // namespace llm_tp

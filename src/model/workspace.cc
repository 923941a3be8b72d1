#include "model/workspace.h"

#include <algorithm>

#include "model/rope.h"

namespace llm_tp {
namespace {

TreeParts parts_of(const ShardPlan& plan, Range RankShare::*leaves) {
  std::vector<Range> runs;
  for (const RankShare& share : plan.ranks) runs.push_back(share.*leaves);
  return TreeParts(std::move(runs));
}

/// Calls visit(buffer, floats) for every buffer of a Workspace; one at least, where a rank or a model has no
/// use for it.
template <class Visit>
void for_each_buffer(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t rows,
                     std::int64_t scored_rows, const Visit& visit_floats) {
  const auto visit = [&](DeviceBuffer Workspace::*buffer, std::int64_t floats) {
    visit_floats(buffer, std::max<std::int64_t>(floats, 1));
  };
  const RankShare& share = plan.ranks[static_cast<std::size_t>(rank)];
  const bool experts = shape.experts.count > 0;
  const std::int64_t pairs = rows * (experts ? shape.experts.chosen : 1);
  const std::int64_t columns =
      std::max({share.mlp_columns.size(), share.expert_columns.size(), share.shared_columns.size()});
  const auto roots = [&](Range leaves, std::int64_t each) {
    return static_cast<std::int64_t>(roots_of(leaves).size()) * each * shape.hidden;
  };
  visit(&Workspace::hidden, rows * shape.hidden);
  visit(&Workspace::normed, rows * shape.hidden);
  visit(&Workspace::angles, rows * Rope(shape.rope, shape.head_dim).rotary());
  visit(&Workspace::local_angles, shape.local_rope ? rows * shape.head_dim : 0);
  visit(&Workspace::qkv, rows * (share.query_heads.size() + 2 * share.kv_heads.size()) * shape.head_dim);
  visit(&Workspace::attended, rows * share.query_heads.size() * shape.head_dim);
  visit(&Workspace::squares,
        shape.style.query_key_norm == QueryKeyNorm::kWhole ? rows * (shape.query_heads + shape.kv_heads) : 0);
  visit(&Workspace::gate_up, 2 * rows * columns);
  visit(&Workspace::activated, std::max(rows * columns, pairs * share.expert_columns.size()));
  visit(&Workspace::routed, experts ? rows * shape.experts.count : 0);
  visit(&Workspace::expert_rows, experts ? pairs * shape.hidden : 0);
  visit(&Workspace::mixed, experts ? rows * shape.hidden : 0);
  // A whole expert's rows are summed where they are shared from.
  const Range expert_leaves = plan.whole_experts ? Range{} : share.expert_leaves;
  visit(&Workspace::roots, std::max({roots(share.output_leaves, rows), roots(share.down_leaves, rows),
                                     roots(share.shared_leaves, rows), roots(expert_leaves, pairs)}));
  visit(&Workspace::summed, pairs * shape.hidden);
  visit(&Workspace::scored, scored_rows * shape.hidden);
  visit(&Workspace::logits, scored_rows * share.vocab_rows.size());
}

}  // namespace

LayerSums::LayerSums(const ShardPlan& plan)
    : output(parts_of(plan, &RankShare::output_leaves)),
      down(parts_of(plan, &RankShare::down_leaves)),
      shared(parts_of(plan, &RankShare::shared_leaves)) {
  if (!plan.whole_experts) expert.emplace(parts_of(plan, &RankShare::expert_leaves));
}

StepLimits step_limits(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t most_rows,
                       std::int64_t scored_rows, std::int64_t slices, std::int64_t positions,
                       bool sums_on_device) {
  std::int64_t floats = 0;  // of the largest buffer that the host is given
  for_each_buffer(shape, plan, rank, most_rows, scored_rows,
                  [&](DeviceBuffer Workspace::*buffer, std::int64_t count) {
                    const auto is_one_of = [buffer](auto... those) { return ((buffer == those) || ...); };
                    const bool read = is_one_of(&Workspace::logits, &Workspace::scored, &Workspace::routed);
                    const bool summed = is_one_of(&Workspace::roots, &Workspace::summed, &Workspace::squares);
                    if (read || (summed && !sums_on_device)) floats = std::max(floats, count);
                  });
  StepLimits limits;
  limits.rows = most_rows;
  limits.slices = std::min(slices, most_rows);
  limits.positions = std::min(positions, shape.context);
  limits.listed_rows =
      std::max(scored_rows, most_rows * (shape.experts.count > 0 ? shape.experts.chosen : 1));
  limits.vocabulary_rows = plan.ranks[static_cast<std::size_t>(rank)].vocab_rows.size();
  limits.vocabulary_run = vocabulary_unit(shape.vocabulary);
  limits.host_bytes = floats * std::int64_t{sizeof(float)};
  return limits;
}

std::int64_t workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t most_rows,
                             std::int64_t scored_rows) {
  std::int64_t floats = 0;
  for_each_buffer(shape, plan, rank, most_rows, scored_rows,
                  [&](DeviceBuffer Workspace::*, std::int64_t count) { floats += count; });
  return 4 * floats;
}

Workspace make_workspace(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
                         std::int64_t most_rows, std::int64_t scored_rows) {
  Workspace workspace;
  for_each_buffer(shape, plan, rank, most_rows, scored_rows,
                  [&](DeviceBuffer Workspace::*buffer, std::int64_t count) {
                    workspace.*buffer = ops.allocate(static_cast<std::size_t>(count) * 4);
                  });
  if (shape.experts.count > 0) workspace.routing = ops.make_routing(shape.experts.rule());
  return workspace;
}

}  // namespace llm_tp

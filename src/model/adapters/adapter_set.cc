#include "model/adapters/adapter_set.h"

#include <algorithm>

namespace llm_tp {

/// Floats of each buffer for one row; of one at least, since a rank may hold nothing.
struct AdapterSet::Sizes {
  std::int64_t inputs, roots, low, outputs;

  Sizes(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t most_rank) {
    const RankShare& share = plan.ranks[static_cast<std::size_t>(rank)];
    const std::int64_t queries = share.query_heads.size() * shape.head_dim,
                       kv = share.kv_heads.size() * shape.head_dim;
    const auto count = [](Range leaves) { return static_cast<std::int64_t>(roots_of(leaves).size()); };
    inputs = std::max({shape.hidden, queries, share.mlp_columns.size()});
    roots =
        std::max<std::int64_t>(1, std::max(count(share.output_leaves), count(share.down_leaves))) * most_rank;
    low = most_rank;
    outputs = std::max({shape.hidden, queries + 2 * kv, 2 * share.mlp_columns.size()});
  }
  std::int64_t total() const noexcept { return inputs + roots + low + outputs; }
};

namespace {

std::int64_t highest_rank(const std::vector<AdapterWeights>& adapters) {
  std::int64_t most = 1;
  for (const AdapterWeights& adapter : adapters)
    for (const LayerAdapter& layer : adapter.layers)
      for (const auto* place : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down})
        for (const LowRank& part : *place) most = std::max(most, part.a->spec().rows);
  return most;
}

}  // namespace

AdapterSet::AdapterSet(DeviceBackend& ops, Communicator& ranks, const ModelShape& shape,
                       const ShardPlan& plan, int rank, std::vector<AdapterWeights> adapters,
                       std::int64_t most_rows)
    : ops_(ops), ranks_(ranks), adapters_(std::move(adapters)) {
  if (adapters_.empty()) return;
  const Sizes sizes(shape, plan, rank, highest_rank(adapters_));
  const auto room = [&](std::int64_t floats) {
    return ops.allocate(static_cast<std::size_t>(floats * most_rows) * sizeof(float));
  };
  inputs_ = room(sizes.inputs);
  roots_ = room(sizes.roots);
  low_ = room(sizes.low);
  outputs_ = room(sizes.outputs);
}

std::int64_t AdapterSet::workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank,
                                         std::int64_t most_rank, std::int64_t most_rows) {
  return Sizes(shape, plan, rank, most_rank).total() * most_rows * std::int64_t{sizeof(float)};
}

const std::vector<LowRank>& AdapterSet::parts_of(const AdapterRows& rows, int layer, Place place) const {
  LLM_TP_CHECK(rows.adapter >= 0 && rows.adapter < count(), "a step with an adapter that was not loaded");
  return adapters_[static_cast<std::size_t>(rows.adapter)].layers[static_cast<std::size_t>(layer)].*place;
}

void AdapterSet::add_whole(std::span<const AdapterRows> rows, int layer, Place place, TensorView out,
                           TensorView x) const {
  for (const AdapterRows& own : rows) {
    const std::vector<LowRank>& parts = parts_of(own, layer, place);
    if (parts.empty()) continue;
    const TensorView input = TensorView::matrix(inputs_.floats(), std::ssize(own.rows), x.columns());
    ops_.gather_rows(input, x, own.rows);
    for (const LowRank& part : parts) {
      const TensorView low = TensorView::matrix(low_.floats(), input.rows(), part.a->spec().rows);
      ops_.linear(low, input, *part.a, {});
      add(out, low, part, own.rows);
    }
  }
}

void AdapterSet::add_summed(std::span<const AdapterRows> rows, int layer, Place place, TensorView out,
                            TensorView x, const TreeParts& tree) const {
  for (const AdapterRows& own : rows)
    for (const LowRank& part : parts_of(own, layer, place)) {
      const std::int64_t count = std::ssize(own.rows), rank = part.a->spec().rows;
      const TensorView input = TensorView::matrix(inputs_.floats(), count, x.columns());
      ops_.gather_rows(input, x, own.rows);
      const TensorView mine{roots_.data(),
                            DType::kF32,
                            3,
                            {static_cast<std::int64_t>(part.a->roots().size()), count, rank, 0},
                            rank};
      ops_.linear_roots(mine, input, *part.a);
      const TensorView low = TensorView::matrix(low_.floats(), count, rank);
      ranks_.sum_tree(low, mine, tree);
      add(out, low, part, own.rows);
    }
}

void AdapterSet::add(TensorView out, TensorView low, const LowRank& part,
                     std::span<const std::int32_t> rows) const {
  const std::int64_t columns = part.b->spec().rows;
  if (columns == 0) return;
  const TensorView made = TensorView::matrix(outputs_.floats(), low.rows(), columns);
  ops_.linear(made, low, *part.b, {});
  const std::vector<float> scales(rows.size(), part.scale);
  ops_.add_rows(out.column_range(part.first_column, part.first_column + columns), made, rows, scales);
}

}  // namespace llm_tp

#include "model/shard_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"

namespace llm_tp {
namespace {

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t fullest(const std::vector<Range>& cut) {
  std::int64_t most = 0;
  for (const Range& r : cut) most = std::max(most, r.size());
  return most;
}

/// Cuts `total` things in runs of `unit`.
std::vector<Range> cut_in_units(std::int64_t total, std::int64_t unit, std::span<const double> shares) {
  std::vector<Range> cut = cut_by_shares(ceil_divide(total, unit), shares);
  for (Range& r : cut) r = {std::min(total, r.begin * unit), std::min(total, r.end * unit)};
  return cut;
}

LeafCut down_cut_of(std::int64_t columns, std::int64_t block) {
  return LeafCut::split(columns, block > 1 ? block : 16);
}

}  // namespace

std::vector<Range> cut_by_shares(std::int64_t units, std::span<const double> shares) {
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::int64_t> counts(shares.size());
  std::vector<double> remainders(shares.size());
  std::int64_t left = units;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    const double exact = static_cast<double>(units) * shares[r] / total;
    counts[r] = std::min<std::int64_t>(static_cast<std::int64_t>(exact), left);
    remainders[r] = exact - std::floor(exact);
    left -= counts[r];
  }
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0);
  // Of equal remainders the later ranks round up: rank 0 also schedules and samples, and a first rank that
  // ends on a power of two has fewer roots to send.
  std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b] + 1e-9; });
  for (std::size_t i = 0; left > 0; i = (i + 1) % order.size(), --left) ++counts[order[i]];
  std::vector<Range> cut;
  for (std::int64_t at = 0; std::int64_t count : counts) {
    cut.push_back({at, at + count});
    at += count;
  }
  return cut;
}

std::int64_t vocabulary_unit(std::int64_t vocabulary) noexcept {
  return 16 * std::max<std::int64_t>(1, ceil_divide(ceil_divide(vocabulary, 16), 256));
}

ShardPlan ShardPlan::make(const ModelShape& shape, int world, ShardUnits units,
                          std::span<const double> shares, bool whole_experts) {
  std::vector<double> speeds(shares.begin(), shares.end());
  if (speeds.empty()) speeds.assign(static_cast<std::size_t>(world), 1.0);
  if (speeds.size() != static_cast<std::size_t>(world))
    throw Error(ExitCode::kConfig, "shares: " + std::to_string(speeds.size()) + " numbers for " +
                                       std::to_string(world) + " ranks: give one for each rank, or none");
  for (double s : speeds)
    if (!(s > 0) || !std::isfinite(s))
      throw Error(ExitCode::kConfig, "shares: every share must be a positive number");

  ShardPlan plan;
  plan.whole_experts = whole_experts && shape.experts.count > 0;
  // Query heads that share a quantisation block of the output projection's columns stay together.
  const std::int64_t head_unit = std::lcm(shape.head_dim, units.output_block) / shape.head_dim;
  const std::int64_t head_units = ceil_divide(shape.query_heads, head_unit);
  plan.output_cut = {shape.query_heads * shape.head_dim, head_unit * shape.head_dim,
                     static_cast<int>(head_units)};
  plan.down_cut = down_cut_of(shape.any_dense_layer() ? shape.mlp_columns : 0, units.down_block);
  plan.expert_cut = down_cut_of(shape.experts.columns, units.expert_block);
  plan.shared_cut = down_cut_of(shape.experts.shared_columns, units.shared_block);

  std::vector<Range> heads = cut_in_units(shape.query_heads, head_unit, speeds);
  const std::vector<Range> groups =
      cut_in_units(shape.query_heads, std::lcm(head_unit, shape.group()), speeds);
  if (8 * fullest(groups) <= 9 * fullest(heads)) heads = groups;
  const std::vector<Range> leaves = cut_by_shares(plan.down_cut.leaves, speeds),
                           expert_leaves = cut_by_shares(plan.expert_cut.leaves, speeds),
                           shared_leaves = cut_by_shares(plan.shared_cut.leaves, speeds),
                           experts = cut_by_shares(shape.experts.count, speeds);
  const std::vector<Range> vocabulary =
      cut_in_units(shape.vocabulary, vocabulary_unit(shape.vocabulary), speeds);

  for (std::size_t r = 0; r < speeds.size(); ++r) {
    RankShare share;
    share.query_heads = heads[r];
    if (!heads[r].empty())
      share.kv_heads = {heads[r].begin / shape.group(), (heads[r].end - 1) / shape.group() + 1};
    share.output_leaves = {ceil_divide(heads[r].begin, head_unit), ceil_divide(heads[r].end, head_unit)};
    share.down_leaves = leaves[r];
    share.mlp_columns = plan.down_cut.columns_of(leaves[r]);
    share.experts = plan.whole_experts ? experts[r] : Range{0, shape.experts.count};
    share.expert_leaves = plan.whole_experts ? Range{0, plan.expert_cut.leaves} : expert_leaves[r];
    share.expert_columns = plan.expert_cut.columns_of(share.expert_leaves);
    share.shared_leaves = shared_leaves[r];
    share.shared_columns = plan.shared_cut.columns_of(shared_leaves[r]);
    share.vocab_rows = vocabulary[r];
    plan.ranks.push_back(share);
  }
  return plan;
}

}  // namespace llm_tp

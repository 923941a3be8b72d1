#pragma once
#include <optional>
#include <span>

#include "comm/communicator.h"
#include "kernels/device.h"
#include "model/adapters/adapter_set.h"
#include "model/model_shape.h"
#include "model/shard_plan.h"

namespace llm_tp {

/// Room for the activations of one step on one rank, allocated once; for the most rows T a step may have.
/// With experts S = T * chosen experts is the number of their rows, else S = T.
struct Workspace {
  DeviceBuffer hidden, normed;              // [T,H]
  DeviceBuffer angles, local_angles;        // [T, rotary]: cosines, then sines
  DeviceBuffer qkv, attended;               // [T, (query + 2 kv) * head_dim], [T, query * head_dim]
  DeviceBuffer squares;                     // [query + KV heads of all ranks, T], for norms over all heads
  DeviceBuffer gate_up, activated;          // [T, 2C], [T, C]
  DeviceBuffer routed, expert_rows, mixed;  // [T, experts + 1], [S,H], [T,H]
  DeviceBuffer roots, summed;               // [R,S,H], [S,H]
  DeviceBuffer scored, logits;              // [16, H], [16, vocabulary rows]
};

/// How the partial outputs of the layers' parts lie on the ranks.
struct LayerSums {
  TreeParts output, down, shared;
  std::optional<TreeParts> expert;  // empty where whole experts lie on the ranks
  explicit LayerSums(const ShardPlan& plan);
};

/// The cache of a group of layers (kv_groups.h), and the step's rows with their pages in it.
struct KvStep {
  KvCache* cache = nullptr;
  Batch batch;
};

/// Everything a layer needs to run one step. Borrowed for the step.
struct StepContext {
  DeviceBackend& ops;
  Communicator& ranks;
  Workspace& workspace;
  std::span<const KvStep> kv;  // of each group of layers; all have the same rows
  const LayerSums& sums;
  TensorView angles, local_angles;  // [T, rotary]; local_angles is empty where no layer uses them
  StepAdapters adapters = {};
  std::int64_t rows() const noexcept { return kv.front().batch.rows(); }
};

/// Where a row-parallel layer leaves its partial sums for `rows` rows: [R, rows, H] in the workspace.
inline TensorView stack_of_roots(const StepContext& step, const PackedWeight& weight, std::int64_t rows) {
  const std::int64_t hidden = weight.spec().rows;
  return {step.workspace.roots.data(),
          DType::kF32,
          3,
          {static_cast<std::int64_t>(weight.roots().size()), rows, hidden, 0},
          hidden};
}

/// The sum of all ranks' partial outputs [R, rows, H]: [rows, H] in the workspace, the same on every rank.
/// Valid until the next call of stack_of_roots() or this.
inline TensorView sum_over_ranks(const StepContext& step, TensorView mine, const TreeParts& parts) {
  if (step.ranks.world() == 1 && parts.total_roots() == 1)  // the one root is the sum
    return TensorView::matrix(mine.data, mine.dtype, mine.shape[1], mine.columns(), mine.row_stride);
  const TensorView summed = TensorView::matrix(step.workspace.summed.floats(), mine.shape[1], mine.columns());
  step.ranks.sum_tree(summed, mine, parts);
  return summed;
}

/// A vector of the weights, or nothing where the model has none.
inline TensorView vector_of(const DeviceBuffer& buffer, std::int64_t elements) {
  return buffer.data() != nullptr ? TensorView::vector(buffer.floats(), elements) : TensorView{};
}

}  // namespace llm_tp

#pragma once
#include <optional>
#include <span>

#include "comm/communicator.h"
#include "kernels/device.h"
#include "kernels/routing.h"
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
  DeviceBuffer gate_up, activated;          // [T, 2C], [S, C]
  DeviceBuffer routed, expert_rows, mixed;  // [T, experts + 1], [S,H], [T,H]
  std::unique_ptr<Routing> routing;         // null: no experts
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

/// What attention or an MLP made of its input: this rank's partial outputs [R,T,H], whose sum over the ranks
/// is still to be taken; or, without parts, that sum [T,H].
struct PartOutput {
  TensorView tensor;
  const TreeParts* parts = nullptr;
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

/// Where a sum of partial outputs [R, rows, H] goes.
inline TensorView room_of_sum(const StepContext& step, TensorView mine) {
  return TensorView::matrix(step.workspace.summed.floats(), mine.shape[1], mine.columns());
}

/// One root of all ranks is the sum: then there is none to take.
inline PartOutput to_be_summed(const StepContext& step, TensorView mine, const TreeParts& parts) {
  if (step.ranks.world() > 1 || parts.total_roots() > 1) return {mine, &parts};
  return {TensorView::matrix(mine.data, mine.dtype, mine.shape[1], mine.columns(), mine.row_stride)};
}

/// The output [rows, H] in the workspace, the same on every rank. Valid until the next call of
/// stack_of_roots() or this.
inline TensorView sum_over_ranks(const StepContext& step, const PartOutput& made) {
  if (made.parts == nullptr) return made.tensor;
  const TensorView summed = room_of_sum(step, made.tensor);
  step.ranks.sum_tree(summed, made.tensor, *made.parts);
  return summed;
}

/// Adds the output to the residual and norms that.
inline void add_norm(const StepContext& step, const ResidualNorm& norm, const PartOutput& made) {
  if (made.parts == nullptr) return step.ops.add_norm(norm, made.tensor);
  step.ranks.sum_add_norm(step.ops, norm, room_of_sum(step, made.tensor), made.tensor, *made.parts);
}

/// A vector of the weights, or nothing where the model has none.
inline TensorView vector_of(const DeviceBuffer& buffer, std::int64_t elements) {
  return buffer.data() != nullptr ? TensorView::vector(buffer.floats(), elements) : TensorView{};
}

}  // namespace llm_tp

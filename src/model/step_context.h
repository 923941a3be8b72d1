#pragma once
#include "comm/communicator.h"
#include "kernels/device.h"
#include "model/shard_plan.h"

namespace llm_tp {

/// Room for the activations of one step on one rank, allocated once; [T, …] for the most rows a step may
/// have.
struct Workspace {
  DeviceBuffer hidden, normed, cos_sin;  // [T,H], [T,H], [T, head_dim]
  DeviceBuffer qkv, attended;            // [T, (query + 2 kv) * head_dim], [T, query * head_dim]
  DeviceBuffer gate_up, activated;       // [T, 2C], [T, C]
  DeviceBuffer roots, summed;            // [R,T,H], [T,H]
  DeviceBuffer scored, logits;           // [S,H], [S, vocabulary rows]
};

/// Everything a layer needs to run one step. Borrowed for the step.
struct StepContext {
  DeviceBackend& ops;
  Communicator& ranks;
  Workspace& workspace;
  KvCache& cache;
  const Batch& batch;
  TensorView cos_sin;  // [T, head_dim]
  std::int64_t rows() const noexcept { return batch.rows(); }
};

/// Where a row-parallel layer leaves its partial sums: [R,T,H] in the workspace.
inline TensorView stack_of_roots(const StepContext& step, const PackedWeight& weight) {
  const std::int64_t hidden = weight.spec().rows;
  return {step.workspace.roots.data(),
          DType::kF32,
          3,
          {static_cast<std::int64_t>(weight.roots().size()), step.rows(), hidden, 0},
          hidden};
}

}  // namespace llm_tp

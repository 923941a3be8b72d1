#pragma once
#include "model/step_context.h"

namespace llm_tp {

/// The largest steps of a model on one rank, as its device is told; slices: sequences of a step, of up to
/// `positions` tokens each. sums_on_device: else they go by way of the host, which sees what is added.
StepLimits step_limits(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t most_rows,
                       std::int64_t scored_rows, std::int64_t slices, std::int64_t positions,
                       bool sums_on_device);

/// Bytes of the workspace of a rank for steps of most_rows rows of which up to scored_rows are scored at
/// once.
std::int64_t workspace_bytes(const ModelShape& shape, const ShardPlan& plan, int rank, std::int64_t most_rows,
                             std::int64_t scored_rows);
Workspace make_workspace(DeviceBackend& ops, const ModelShape& shape, const ShardPlan& plan, int rank,
                         std::int64_t most_rows, std::int64_t scored_rows);

}  // namespace llm_tp

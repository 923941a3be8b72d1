#pragma once
#include <memory>
#include <vector>

#include "model/adapters/files.h"
#include "model/rank_weights.h"
#include "model/shard_plan.h"

namespace llm_tp {

/// One rank's part of the adapter of one matrix, in f32: cut as the matrix itself. A layer whose outputs are
/// cut (q, k, v, gate, up) has the whole A and its rows of B; one whose inputs are cut (o, down) its columns
/// of A and the whole B.
struct LowRank {
  std::unique_ptr<PackedWeight> a;  // [rank, K]
  std::unique_ptr<PackedWeight> b;  // [N, rank]
  float scale = 0;
  std::int64_t first_column = 0;  // of the layer's outputs on this rank, where B's begin
};

/// Those of one layer; lists are empty where it is not adapted.
struct LayerAdapter {
  std::vector<LowRank> qkv, output, gate_up, down;
};

/// One rank's part of an adapter.
struct AdapterWeights {
  std::vector<LayerAdapter> layers;
};

/// Bytes of them, from headers; adds their kinds.
std::int64_t adapter_bytes(const AdapterFiles& files, const ModelShape& shape, const ShardPlan& plan,
                           int rank, const DeviceBackend& ops, std::vector<WeightSpec>& kinds);
AdapterWeights load_adapter(const AdapterFiles& files, const ModelShape& shape, const ShardPlan& plan,
                            int rank, DeviceBackend& ops);

}  // namespace llm_tp

#pragma once
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "kernels/routing.h"

namespace llm_tp {

/// A cache that there will be, and how it is read.
struct CacheNeeds {
  KvShape shape;
  HeadMap heads;
  std::int64_t window = 0;  // as CacheBatch has it
};

/// What one model on one rank asks of a device's ops, known from headers alone: what it takes to say how much
/// memory the ops themselves will take.
struct ModelNeeds {
  StepLimits limits;
  std::vector<WeightSpec> weights;          // one of each kind (are_alike)
  std::vector<std::int64_t> expert_stacks;  // experts in each stack whose weights are of one kind
  std::optional<RouterRule> router;         // of a mixture of experts
  std::vector<CacheNeeds> caches;
};

/// Adds a weight's kind where there is none like it yet.
void add_kind(std::vector<WeightSpec>& kinds, const WeightSpec& spec);

}  // namespace llm_tp

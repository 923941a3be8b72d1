#pragma once
#include "model/config_keys.h"
#include "model/rope_settings.h"

namespace llm_tp {

/// rope_theta, rope_scaling and partial_rotary_factor of a config.json; context is max_position_embeddings.
/// Errors: kBadData for a kind that is not supported, or keys that are missing or contradict each other.
RopeSettings rope_from_config(const ConfigKeys& keys, std::int64_t head_dim, std::int64_t context);

/// Positions that a model of this context can take with its scaling (docs/rope.md).
std::int64_t reach_of(const RopeSettings& rope, std::int64_t context);

}  // namespace llm_tp

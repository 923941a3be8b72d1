#pragma once
#include <optional>

#include "model/config_keys.h"
#include "model/rope_settings.h"

namespace llm_tp {

/// rope_theta, rope_scaling and partial_rotary_factor of a config.json, or rope_parameters, which holds all
/// of them since transformers 5; context is max_position_embeddings, theta what an absent rope_theta stands
/// for. Where rope_parameters differs by kind of layer: of the layers without a window. Errors: kBadData for
/// a kind that is not supported, or keys that are missing or contradict each other.
RopeSettings rope_from_config(const ConfigKeys& keys, std::int64_t head_dim, std::int64_t context,
                              double theta);

/// Base of the windowed layers' angles where rope_parameters differs by kind of layer; these are never
/// stretched. nullopt where it does not. Errors: those of rope_from_config.
std::optional<double> local_theta_from_config(const ConfigKeys& keys, double theta);

/// Positions that a model of this context can take with its scaling (docs/rope.md).
std::int64_t reach_of(const RopeSettings& rope, std::int64_t context);

}  // namespace llm_tp

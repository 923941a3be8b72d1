#pragma once
#include <cstdint>

namespace llm_tp {

/// One of the adapters that are loaded beside the model, by its place in the configuration; the same on every
/// rank.
using AdapterId = std::int32_t;
inline constexpr AdapterId kNoAdapter = -1;

}  // namespace llm_tp

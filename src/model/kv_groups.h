#pragma once
#include <cstdint>
#include <vector>

#include "model/model_shape.h"

namespace llm_tp {

/// Layers that look back equally far. They keep keys and values in one cache with page tables of its own, so
/// that where they see a window alone, pages before it are given back while others keep theirs.
struct KvGroup {
  std::int64_t window = 0;  // positions that they see; 0: all
  int layers = 0;
};
/// The furthest-seeing first; never empty. A window that no text fills is none.
std::vector<KvGroup> kv_groups_of(const ModelShape& shape);

/// Where a layer's keys and values are: its group, and its number among the group's layers.
struct KvPlace {
  int group = 0, layer = 0;
};
KvPlace kv_place_of(const ModelShape& shape, std::int64_t layer);

}  // namespace llm_tp

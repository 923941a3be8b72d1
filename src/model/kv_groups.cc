#include "model/kv_groups.h"

#include <algorithm>

namespace llm_tp {
namespace {

std::int64_t window_of(const ModelShape& shape, std::int64_t layer) {
  const std::int64_t window = shape.layer(layer).window;
  return window < shape.context ? window : 0;
}

}  // namespace

std::vector<KvGroup> kv_groups_of(const ModelShape& shape) {
  std::vector<KvGroup> groups;
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const std::int64_t window = window_of(shape, i);
    const auto same = [&](const KvGroup& group) { return group.window == window; };
    auto at = std::find_if(groups.begin(), groups.end(), same);
    if (at == groups.end()) at = groups.insert(at, {window, 0});
    ++at->layers;
  }
  std::sort(groups.begin(), groups.end(), [](const KvGroup& a, const KvGroup& b) {
    return b.window != 0 && (a.window == 0 || a.window > b.window);
  });
  return groups;
}

KvPlace kv_place_of(const ModelShape& shape, std::int64_t layer) {
  const std::vector<KvGroup> groups = kv_groups_of(shape);
  const std::int64_t window = window_of(shape, layer);
  KvPlace place;
  while (groups[static_cast<std::size_t>(place.group)].window != window) ++place.group;
  for (std::int64_t i = 0; i < layer; ++i)
    if (window_of(shape, i) == window) ++place.layer;
  return place;
}

}  // namespace llm_tp

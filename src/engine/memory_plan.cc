#include "engine/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "model/decoder.h"

namespace llm_tp {
namespace {
constexpr int kSizingPage = 16;  // any size gives the same bytes a token
}

std::int64_t RankMemory::kv_per_token_of_all() const noexcept {
  return std::accumulate(kv_per_token.begin(), kv_per_token.end(), std::int64_t{0});
}

std::int64_t RankMemory::kv(std::span<const CacheLimits> caches, std::int64_t page_tokens) const {
  std::int64_t bytes = 0;
  for (std::size_t g = 0; g < kv_per_token.size(); ++g)
    bytes += kv_per_token[g] * page_tokens * caches[g].pages;
  return bytes;
}

KvShape kv_shape_of(const ModelShape& shape, const RankShare& share, DType kv_dtype, const KvGroup& group,
                    int pages, int page_tokens) {
  KvShape kv;
  kv.layers = group.layers;
  kv.kv_heads = static_cast<int>(share.kv_heads.size());
  kv.head_dim = static_cast<int>(shape.head_dim);
  kv.pages = pages;
  kv.page_tokens = page_tokens;
  kv.dtype = kv_dtype;
  return kv;
}

std::int64_t kv_token_bytes(const ModelShape& shape, const RankShare& share, DType kv_dtype,
                            const DeviceBackend& ops) {
  std::int64_t bytes = 0;
  for (const KvGroup& group : kv_groups_of(shape))
    bytes += ops.kv_bytes(kv_shape_of(shape, share, kv_dtype, group, 1, kSizingPage)) / kSizingPage;
  return bytes;
}

std::vector<RankMemory> plan_memory(const ModelShape& shape, const WeightLoader& loader,
                                    const ShardPlan& plan, const DeviceBackend& ops, DType kv_dtype,
                                    std::int64_t most_rows) {
  std::vector<RankMemory> all;
  for (int rank = 0; rank < static_cast<int>(plan.ranks.size()); ++rank) {
    const RankShare& share = plan.ranks[static_cast<std::size_t>(rank)];
    RankMemory memory;
    WeightLoader::Sizes sizes = loader.sizes(plan, rank, ops);
    memory.weights = sizes.weights;
    memory.kinds = std::move(sizes.kinds);
    memory.expert_stacks = std::move(sizes.expert_stacks);
    for (const KvGroup& group : kv_groups_of(shape))
      memory.kv_per_token.push_back(ops.kv_bytes(kv_shape_of(shape, share, kv_dtype, group, 1, kSizingPage)) /
                                    kSizingPage);
    memory.workspace = Decoder::workspace_bytes(shape, plan, rank, most_rows);
    all.push_back(std::move(memory));
  }
  return all;
}

std::vector<CacheLimits> plan_caches(const ModelShape& shape, std::int64_t tokens, std::int64_t sequences,
                                     std::int64_t step_tokens, std::int64_t page_tokens) {
  SchedulerLimits limits;
  limits.step_tokens = static_cast<std::int32_t>(step_tokens);
  limits.page_tokens = static_cast<std::int32_t>(page_tokens);
  // Every sequence may leave its last page partly empty.
  const std::int64_t whole = (tokens + page_tokens - 1) / page_tokens + sequences;
  std::vector<CacheLimits> caches;
  for (const KvGroup& group : kv_groups_of(shape)) {
    CacheLimits cache;
    if (group.window > 0) cache.lookback = static_cast<std::int32_t>(group.window - 1 + kDeepestCut);
    cache.pages = cache.lookback > 0 ? std::min(whole, limits.most_held_pages(cache) * sequences) : whole;
    caches.push_back(cache);
  }
  return caches;
}

std::int64_t available_memory() {
  std::int64_t available = std::numeric_limits<std::int64_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key, rest; meminfo >> key; std::getline(meminfo, rest)) {
    std::int64_t kib = 0;
    if (key == "MemAvailable:" && meminfo >> kib) available = kib * 1024;
  }
  std::int64_t limit = 0, used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit &&
      std::ifstream("/sys/fs/cgroup/memory.current") >> used)
    available = std::min(available, std::max<std::int64_t>(0, limit - used));
  return available;
}

std::string memory_text(std::int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text.data();
}

std::string text_of(const PlannedMemory& planned) {
  std::string text = "weights " + memory_text(planned.weights) + ", KV cache " + memory_text(planned.kv) +
                     ", workspace " + memory_text(planned.workspace);
  if (planned.own.device > 0) text += ", ops and sums " + memory_text(planned.own.device);
  return text;
}

void check_memory(int rank, const PlannedMemory& mine, std::int64_t needed, std::int64_t available,
                  bool of_device, const std::string& advice) {
  if (needed <= available) return;
  throw Error(ExitCode::kOutOfMemory,
              "rank " + std::to_string(rank) + " needs " + memory_text(mine.total().device) + " (" +
                  text_of(mine) + "); " +
                  (of_device ? "its GPU has to give " : "the ranks of this host need ") +
                  memory_text(needed) + (of_device ? " of them and has " : " and it has ") +
                  memory_text(available) + "; " + (advice.empty() ? "use a smaller --max-context" : advice) +
                  ", or use more ranks on more hosts, --kv-dtype f16 or int8, or --dtype q8_0 or q4_0");
}

}  // namespace llm_tp

#include "engine/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "model/decoder.h"

namespace llm_tp {

KvShape kv_shape_of(const ModelShape& shape, const RankShare& share, DType kv_dtype, int pages,
                    int page_tokens) {
  KvShape kv;
  kv.layers = static_cast<int>(shape.layers);
  kv.kv_heads = static_cast<int>(share.kv_heads.size());
  kv.head_dim = static_cast<int>(shape.head_dim);
  kv.pages = pages;
  kv.page_tokens = page_tokens;
  kv.dtype = kv_dtype;
  return kv;
}

std::int64_t kv_token_bytes(const ModelShape& shape, const RankShare& share, DType kv_dtype,
                            const DeviceBackend& ops) {
  constexpr int kPage = 16;
  return ops.kv_bytes(kv_shape_of(shape, share, kv_dtype, 1, kPage)) / kPage;
}

std::vector<RankMemory> plan_memory(const ModelShape& shape, const WeightLoader& loader,
                                    const ShardPlan& plan, const DeviceBackend& ops, DType kv_dtype,
                                    std::int64_t most_rows) {
  std::vector<RankMemory> all;
  for (int rank = 0; rank < static_cast<int>(plan.ranks.size()); ++rank) {
    RankMemory memory;
    memory.weights = loader.bytes(plan, rank, ops).weights;
    memory.kv_per_token = kv_token_bytes(shape, plan.ranks[static_cast<std::size_t>(rank)], kv_dtype, ops);
    memory.workspace = Decoder::workspace_bytes(shape, plan, rank, most_rows);
    all.push_back(memory);
  }
  return all;
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

void check_memory(int rank, const RankMemory& mine, std::int64_t kv_tokens, std::int64_t needed_on_host,
                  std::int64_t available) {
  if (needed_on_host <= available) return;
  throw Error(ExitCode::kOutOfMemory,
              "rank " + std::to_string(rank) + " needs " + memory_text(mine.total(kv_tokens)) + " (weights " +
                  memory_text(mine.weights) + ", KV cache " + memory_text(mine.kv_per_token * kv_tokens) +
                  ", workspace " + memory_text(mine.workspace) + "); the ranks of this host need " +
                  memory_text(needed_on_host) + " and it has " + memory_text(available) +
                  ": use more hosts, a smaller --max-context, --kv-dtype f16, or --dtype q8_0 or q4_0");
}

}  // namespace llm_tp

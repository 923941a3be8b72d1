#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "model/kv_groups.h"
#include "model/weight_loader.h"
#include "schedule/scheduler.h"

namespace llm_tp {

/// What one rank will allocate, in bytes, known from headers alone.
struct RankMemory {
  std::int64_t weights = 0, workspace = 0;
  std::vector<std::int64_t> kv_per_token;  // in the cache of each group of layers (kv_groups_of)
  /// Of a token that all layers see.
  std::int64_t kv_per_token_of_all() const noexcept;
  /// Of caches of these sizes.
  std::int64_t kv(std::span<const CacheLimits> caches, std::int64_t page_tokens) const;
};

/// One rank's cache of `pages` pages for a group of layers.
KvShape kv_shape_of(const ModelShape& shape, const RankShare& share, DType kv_dtype, const KvGroup& group,
                    int pages, int page_tokens);
/// Bytes of the keys and values of one position on one rank, all layers.
std::int64_t kv_token_bytes(const ModelShape& shape, const RankShare& share, DType kv_dtype,
                            const DeviceBackend& ops);

std::vector<RankMemory> plan_memory(const ModelShape& shape, const WeightLoader& loader,
                                    const ShardPlan& plan, const DeviceBackend& ops, DType kv_dtype,
                                    std::int64_t most_rows);

/// The most guesses that a step runs and the next takes back: what num_speculative_tokens allows.
inline constexpr std::int64_t kDeepestCut = 64;

/// The caches of a model for `sequences` sequences that have `tokens` positions together.
std::vector<CacheLimits> plan_caches(const ModelShape& shape, std::int64_t tokens, std::int64_t sequences,
                                     std::int64_t step_tokens, std::int64_t page_tokens);

/// Bytes that this host's memory, and this process's control group, still have.
std::int64_t available_memory();

/// Refuses before anything is loaded. Errors: kOutOfMemory names the rank, the sum, what is there, and the
/// knobs. kv: bytes of its caches. Where ranks share a host's memory, needed_on_host is of all of them
/// together. advice: what would fit; where it is empty, the message names the knobs there are.
void check_memory(int rank, const RankMemory& mine, std::int64_t kv, std::int64_t needed_on_host,
                  std::int64_t available, const std::string& advice = {});

/// "1.50 GiB"
std::string memory_text(std::int64_t bytes);

}  // namespace llm_tp

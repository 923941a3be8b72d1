#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/model_needs.h"
#include "model/kv_groups.h"
#include "model/weight_loader.h"
#include "schedule/scheduler.h"

namespace llm_tp {

/// What one rank will allocate, in bytes, known from headers alone.
struct RankMemory {
  std::int64_t weights = 0, workspace = 0;
  std::vector<std::int64_t> kv_per_token;  // in the cache of each group of layers (kv_groups_of)
  // What else its device needs to know (ModelNeeds).
  std::vector<WeightSpec> kinds;
  std::vector<std::int64_t> expert_stacks;
  /// Of a token that all layers see.
  std::int64_t kv_per_token_of_all() const noexcept;
  /// Of caches of these sizes.
  std::int64_t kv(std::span<const CacheLimits> caches, std::int64_t page_tokens) const;
};

/// What one rank takes for all its models, in bytes.
struct PlannedMemory {
  std::int64_t weights = 0, kv = 0, workspace = 0;
  MemoryUse own;  // of its device's ops and of sums between GPUs
  /// device: of the memory that the weights are in, which is the host's on a CPU.
  MemoryUse total() const noexcept { return MemoryUse{weights + kv + workspace, 0} + own; }
};
/// "weights 1.00 GiB, KV cache …, workspace …", and what ops and sums take where it is anything.
std::string text_of(const PlannedMemory& planned);

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
/// knobs. needed: of what is still to be taken, by all ranks that share the memory together. of_device: it is
/// a GPU's. advice: what would fit; where it is empty, the message names the knobs there are.
void check_memory(int rank, const PlannedMemory& mine, std::int64_t needed, std::int64_t available,
                  bool of_device, const std::string& advice = {});

/// "1.50 GiB"
std::string memory_text(std::int64_t bytes);

}  // namespace llm_tp

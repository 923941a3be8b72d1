#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "model/weight_loader.h"

namespace llm_tp {

/// What one rank will allocate, in bytes, known from headers alone.
struct RankMemory {
  std::int64_t weights = 0, kv_per_token = 0, workspace = 0;
  std::int64_t total(std::int64_t kv_tokens) const noexcept {
    return weights + kv_per_token * kv_tokens + workspace;
  }
};

/// KV cache of one rank for `pages` pages.
KvShape kv_shape_of(const ModelShape& shape, const RankShare& share, DType kv_dtype, int pages,
                    int page_tokens);

/// Bytes of the keys and values of one position on one rank.
std::int64_t kv_token_bytes(const ModelShape& shape, const RankShare& share, DType kv_dtype,
                            const DeviceBackend& ops);

std::vector<RankMemory> plan_memory(const ModelShape& shape, const WeightLoader& loader,
                                    const ShardPlan& plan, const DeviceBackend& ops, DType kv_dtype,
                                    std::int64_t most_rows);

/// Bytes that this host's memory, and this process's control group, still have.
std::int64_t available_memory();

/// Refuses before anything is loaded. Errors: kOutOfMemory names the rank, the sum, what is there, and the
/// knobs. Where ranks share a host's memory, needed_on_host is of all of them together.
void check_memory(int rank, const RankMemory& mine, std::int64_t kv_tokens, std::int64_t needed_on_host,
                  std::int64_t available);

/// "1.50 GiB"
std::string memory_text(std::int64_t bytes);

}  // namespace llm_tp

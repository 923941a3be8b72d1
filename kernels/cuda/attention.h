#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/kv_cache.h"
#include "kernels/device.h"

namespace llm_tp {

/// Attention is cut into blocks of up to 64 query rows of one KV head: the rows of a slice's tokens and of
/// the query heads that read the head, a token's heads side by side. Keys are walked in tiles of 32 with an
/// online softmax (Dao et al. 2022) inside chunks of 256 keys at fixed absolute positions, and chunks are
/// merged in order, by the block itself or, where a slice has few rows, by a second kernel after blocks of
/// one chunk each (flash decoding): the same operations either way, so the same bits.
constexpr int kKeyTile = 32, kChunkKeys = 256;

/// One block's work, for every KV head.
struct AttentionItem {
  std::int32_t first_row, rows, first_position, first_page, pages_before;  // the slice
  std::int32_t first_query;          // packed row of the slice at which the block begins
  std::int32_t first_chunk, chunks;  // where it has a partial: its chunks; else all it needs
  std::int32_t partial;              // where its state goes; -1: straight to the output
};
/// Partials of one slice, in order.
struct AttentionMerge {
  std::int32_t first_row, rows, first_partial, partials;
};

/// The work of a step's batch, in host memory.
struct AttentionPlan {
  std::vector<AttentionItem> items;
  std::vector<AttentionMerge> merges;
  std::int32_t partials = 0;
};

/// block_rows: query rows of a block, 32 or 64.
AttentionPlan plan_attention(const Batch& batch, const HeadMap& heads, const AttentionOptions& options,
                             int block_rows);

struct AttentionHeads {
  std::int32_t query_begin, query_end, kv_begin, group;
};

/// What the kernels read, in device memory.
struct AttentionArguments {
  DeviceRows out, q;
  DeviceCache cache;
  std::int32_t layer;
  AttentionHeads heads;
  float scale;          // of q . k; times log2(e) where there is no cap
  float cap, cap_log2;  // > 0: the soft cap, and it times log2(e)
  std::int32_t window;
  const std::int32_t* pages;  // of all slices
  const AttentionItem* items;
  const AttentionMerge* merges;
  float* partial_sums;    // [partial][kv head][block row][head_dim]
  float2* partial_state;  // [partial][kv head][block row]: largest score, sum of weights
};

/// Query rows of a block for these heads: as many as shared memory holds. Errors: kUnavailable for head_dim >
/// 256.
int attention_block_rows(int head_dim, DType cache_dtype, std::size_t shared_bytes_at_most);
std::int64_t partial_sum_bytes(const AttentionPlan& plan, const DeviceCache& cache, int block_rows);
std::int64_t partial_state_bytes(const AttentionPlan& plan, const DeviceCache& cache, int block_rows);

void attend(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan, int block_rows,
            std::size_t shared_bytes_at_most);

/// The second kernel of attend(): partials of the plan's slices, merged in order.
void merge_chunks(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan,
                  int block_rows);

}  // namespace llm_tp

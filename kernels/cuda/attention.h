#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/kv_cache.h"
#include "kernels/device.h"

namespace llm_tp {

/// Attention is cut into blocks of up to 64 query rows of one KV head: the rows of a slice's tokens and of
/// the query heads that read the head, a token's heads side by side. Keys are walked in tiles with an
/// online softmax (Dao et al. 2022) inside chunks of 256 keys at fixed absolute positions, and chunks are
/// merged in order, by the block itself or, where a slice has few rows, by a second kernel after blocks of
/// one chunk each (flash decoding): the same operations either way, so the same bits.
constexpr int kChunkKeys = 256;
/// What a warp of the tensor cores takes: where no block has more rows, its warps share them.
constexpr int kFewRows = 16;

/// One block's work, for every KV head. Without rows: none.
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

/// The work of a step's batch, in host memory. How many items and merges there are is rounded up by empty
/// ones, and partial_rows depends on the slices' rows alone: steps that differ in where their sequences are
/// have few plans of different shapes.
struct AttentionPlan {
  std::vector<AttentionItem> items;
  std::vector<AttentionMerge> merges;
  std::int32_t partials = 0;
  std::int32_t partial_rows = 0;  // query rows that a partial has room for
  bool has_few_rows = true;       // no block has more than 16
};

struct AttentionPlanOptions {
  std::int32_t group = 1;              // query heads a KV head
  std::int64_t window = 0;             // positions that are seen; 0: all
  std::int32_t block_rows = 64;        // query rows of a block, 32 or 64
  std::int64_t most_partial_rows = 0;  // of all partials of a KV head
};

/// Where partials have no room for all sequences, the longest are cut and the others walked whole.
AttentionPlan plan_attention(const Batch& batch, const AttentionPlanOptions& options);
/// No plan of so many rows and slices has more items.
std::int64_t most_items(std::int64_t rows, std::int64_t slices, const AttentionPlanOptions& options);

struct AttentionHeads {
  std::int32_t query_begin, query_end, kv_begin, group;
};

/// What the kernels read, in device memory.
struct AttentionArguments {
  DeviceRows out, q;
  DeviceCache cache;
  std::int32_t layer;
  AttentionHeads heads;
  float scale;     // of q . k, times log2(e); where there is a cap, times 2 * log2(e) / cap
  float cap_log2;  // > 0: the soft cap, times log2(e)
  std::int32_t window;
  bool has_whole_runs;  // of the cache: eight numbers from a multiple of eight are words; set by attend()
  const std::int32_t* pages;  // of all slices
  const AttentionItem* items;
  const AttentionMerge* merges;
  std::int32_t partial_rows;
  float* partial_sums;    // [partial][kv head][partial_rows][head_dim]
  float2* partial_state;  // [partial][kv head][partial_rows]: largest score, sum of weights
};

/// Query rows of a block for these heads: as many as shared memory holds. Errors: kUnavailable for head_dim >
/// 256.
int attention_block_rows(int head_dim, DType cache_dtype, std::size_t shared_bytes_at_most);
/// Of so many query rows of every KV head.
std::int64_t partial_sum_bytes(std::int64_t rows, const DeviceCache& cache);
std::int64_t partial_state_bytes(std::int64_t rows, const DeviceCache& cache);

void attend(cudaStream_t stream, AttentionArguments args, const AttentionPlan& plan, int block_rows);

/// The second kernel of attend(): partials of the plan's slices, merged in order.
void merge_chunks(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan);

}  // namespace llm_tp

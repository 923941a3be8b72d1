#pragma once
#include "kernels/cuda/kv_cache.h"

namespace llm_tp {

constexpr int kMostHeadDim = 256;  // as attention has it

/// Queries, keys or values of a step: [T, heads * head_dim]. No heads: none.
struct HeadRows {
  DeviceRows rows;
  std::int32_t heads = 0;
  const float* norm = nullptr;  // [head_dim]; null: no norm
  bool rotates = false;
  std::int32_t kept = -1;  // where a head goes besides: -1 nowhere, 0 the cache's keys, 1 its values
};

/// One pass over the heads of a step: norm, rotation, copy into the pages of a layer, each where asked for.
struct HeadArguments {
  HeadRows parts[3];
  std::int32_t head_dim = 0;  // <= kMostHeadDim
  float epsilon = 0.0f;
  DeviceRows cos_sin;  // [T, rotary]
  DeviceCache cache;
  std::int32_t layer = 0;
  const std::int32_t* slots = nullptr;  // [T] in device memory: page * page_tokens + token in the page
};

/// What a product of queries, keys and values is followed by in the same launch: its last blocks prepare the
/// heads, which are the weight's rows, part after part. counts [heads of all parts]: of blocks that have
/// stored theirs; 0, and 0 again afterwards. null: nothing.
struct HeadTail {
  HeadArguments heads;
  std::uint32_t* counts = nullptr;
};
constexpr int kMostCountedHeads = 1024;

/// Rows of all parts that have heads are as many. Norm: the sum of squares has rms_norm's order. Rotation:
/// the second product is rounded, the first fused.
void prepare_heads(cudaStream_t stream, const HeadArguments& args, std::int64_t rows);

}  // namespace llm_tp

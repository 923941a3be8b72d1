#pragma once
// What attention and the merge of its chunks share.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/ptx.cuh"

namespace llm_tp {

/// The query heads of this rank that read KV head `head` of this rank.
struct QueryHeads {
  int first, count;
};
__device__ inline QueryHeads query_heads_of(const AttentionHeads& heads, int head) {
  const int begin = (heads.kv_begin + head) * heads.group, end = begin + heads.group;
  const int from = begin > heads.query_begin ? begin : heads.query_begin;
  const int to = end < heads.query_end ? end : heads.query_end;
  return {from - heads.query_begin, to - from};
}

/// Softmax state of a run of keys: largest score, sum of weights relative to it.
struct Softmax {
  float largest, weights;
};
constexpr float kNone = -INFINITY;

/// Joins the state of the next chunk; the sums that belong to them become before * sums + after * next.
__device__ inline void merge(Softmax& state, Softmax next, float& before, float& after) {
  if (next.largest == kNone) {
    before = 1.0f;
    after = 0.0f;
    return;
  }
  const float largest = fmaxf(state.largest, next.largest);
  before = fast_exp2(state.largest - largest);
  after = fast_exp2(next.largest - largest);
  state = {largest, fmaf(next.weights, after, state.weights * before)};
}
__device__ inline float merged(float sum, float before, float next, float after) {
  return after == 0.0f ? sum : fmaf(next, after, sum * before);
}

/// cap * tanh(score / cap) in exponents of 2: args.scale has made score 2 * log2(e) / cap times what it was.
__device__ inline float capped(float score, float cap_log2) {
  return cap_log2 - fast_divide(2.0f * cap_log2, fast_exp2(score) + 1.0f);
}

}  // namespace llm_tp

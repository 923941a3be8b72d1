#pragma once
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/read_scores.h"

namespace llm_tp {

__device__ inline const float* logits_of(const ReadArguments& args, unsigned question) {
  return args.logits + args.questions[question].row * args.stride;
}
/// Where adjusted scores of a question lie.
__device__ inline float* own_scores(const ReadArguments& args, unsigned question) {
  return args.scores + question * args.columns;
}
__device__ inline const float* scores_of(const ReadArguments& args, unsigned question) {
  return args.questions[question].adjusts ? own_scores(args, question) : logits_of(args, question);
}
/// Of segments of a question's logits, or of its own scores.
__device__ inline float* maxima_of(const ReadArguments& args, unsigned question, bool of_scores) {
  return args.maxima + (2 * question + (of_scores ? 1 : 0)) * segments_of(args.columns);
}

__device__ inline RunState nothing_drawn() { return {-INFINITY, -INFINITY, -1, 0.0f, false}; }

/// The larger of two keys on top, the largest of the others as second.
__device__ inline void join(RunState& own, const RunState& other) {
  const double smaller = own.key < other.key ? own.key : other.key;
  double second = own.second_key > other.second_key ? own.second_key : other.second_key;
  second = smaller > second ? smaller : second;
  if (other.key > own.key) own.key = other.key, own.id = other.id, own.score = other.score;
  own.second_key = second;
}
/// Over a warp; the result is in all lanes, but for keys that are equal, where lanes may differ in the token.
__device__ inline void join_lanes(RunState& own) {
  for (int distance = 16; distance > 0; distance /= 2) {
    RunState other = nothing_drawn();
    other.key = __shfl_xor_sync(~0u, own.key, distance);
    other.second_key = __shfl_xor_sync(~0u, own.second_key, distance);
    other.id = __shfl_xor_sync(~0u, own.id, distance);
    other.score = __shfl_xor_sync(~0u, own.score, distance);
    join(own, other);
  }
}

}  // namespace llm_tp

#include "kernels/cuda/attention.cuh"

namespace llm_tp {
namespace {

constexpr int kAtOnce = 8;  // partials whose loads are on their way together

/// One block a slice's query of a KV head, one thread an element of it.
__global__ void merge_chunks_kernel(AttentionArguments args) {
  const AttentionMerge item = args.merges[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int dim = args.cache.head_dim, d = static_cast<int>(threadIdx.x);
  const QueryHeads heads = query_heads_of(args.heads, head);
  if (query >= item.rows * heads.count || d >= dim) return;
  Softmax state{kNone, 0.0f};
  float sum = 0.0f;
  const std::int64_t first =
      (std::int64_t{item.first_partial} * args.cache.heads + head) * args.partial_rows + query;
  const std::int64_t stride = std::int64_t{args.cache.heads} * args.partial_rows;
  for (int begin = 0; begin < item.partials; begin += kAtOnce) {
    float2 states[kAtOnce];
    float sums[kAtOnce];
#pragma unroll
    for (int p = 0; p < kAtOnce; ++p) {
      const bool is_there = begin + p < item.partials;
      const std::int64_t at = first + (begin + p) * stride;
      states[p] = is_there ? args.partial_state[at] : float2{kNone, 0.0f};
      sums[p] = is_there ? args.partial_sums[at * dim + d] : 0.0f;
    }
#pragma unroll
    for (int p = 0; p < kAtOnce; ++p) {
      float before = 1.0f, after = 0.0f;
      merge(state, {states[p].x, states[p].y}, before, after);
      sum = merged(sum, before, sums[p], after);
    }
  }
  const std::int64_t row = item.first_row + query / heads.count;
  args.out.data[row * args.out.stride + (heads.first + query % heads.count) * dim + d] =
      sum * (1.0f / state.weights);
}

}  // namespace

void merge_chunks(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan) {
  const dim3 grid(static_cast<unsigned>(plan.merges.size()), static_cast<unsigned>(args.cache.heads),
                  static_cast<unsigned>(plan.partial_rows));
  const unsigned threads = (static_cast<unsigned>(args.cache.head_dim) + 31) / 32 * 32;
  LLM_TP_LAUNCH(merge_chunks_kernel, grid, threads, 0, stream, args);
}

}  // namespace llm_tp

#include "kernels/cuda/attention.cuh"

namespace llm_tp {
namespace {

/// One thread an element of a slice's rows; KV heads in blockIdx.y.
__global__ void merge_chunks_kernel(AttentionArguments args) {
  const AttentionMerge item = args.merges[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), dim = args.cache.head_dim;
  const QueryHeads heads = query_heads_of(args.heads, head);
  for (int e = static_cast<int>(threadIdx.x); e < item.rows * heads.count * dim;
       e += static_cast<int>(blockDim.x)) {
    const int query = e / dim, d = e % dim;
    Softmax state{kNone, 0.0f};
    float sum = 0.0f;
    for (int p = 0; p < item.partials; ++p) {
      const std::int64_t at =
          (std::int64_t{item.first_partial + p} * args.cache.heads + head) * args.partial_rows + query;
      const float2 next = args.partial_state[at];
      float before = 1.0f, after = 0.0f;
      merge(state, {next.x, next.y}, before, after);
      sum = merged(sum, before, args.partial_sums[at * dim + d], after);
    }
    const std::int64_t row = item.first_row + query / heads.count;
    args.out.data[row * args.out.stride + (heads.first + query % heads.count) * dim + d] =
        sum / state.weights;
  }
}

}  // namespace

void merge_chunks(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan) {
  const dim3 grid(static_cast<unsigned>(plan.merges.size()), static_cast<unsigned>(args.cache.heads));
  LLM_TP_LAUNCH(merge_chunks_kernel, grid, 128, 0, stream, args);
}

}  // namespace llm_tp

#include "kernels/cuda/heads.cuh"

namespace llm_tp {
namespace {

constexpr int kWarps = 4;

/// One warp a head, rows in blockIdx.y.
__global__ void __launch_bounds__(32 * kWarps)
    prepare_heads_kernel(const __grid_constant__ HeadArguments args) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int head = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (head < heads_of(args)) prepare_head(args, head, static_cast<int>(blockIdx.y), lane);
}

}  // namespace

void prepare_heads(cudaStream_t stream, const HeadArguments& args, std::int64_t rows) {
  const int heads = args.parts[0].heads + args.parts[1].heads + args.parts[2].heads;
  const dim3 grid(blocks_for(heads, kWarps), static_cast<unsigned>(rows));
  LLM_TP_LAUNCH(prepare_heads_kernel, grid, 32 * kWarps, 0, stream, args);
}

}  // namespace llm_tp

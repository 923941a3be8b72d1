#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda/attention_block.cuh"

namespace llm_tp {
namespace {

template <int kDim, DType kType, Divided kDivided>
__global__ void __launch_bounds__(kAttentionThreads, AttentionLayout<kDim, kType, kDivided>::kBlocksAtLeast)
    attend_kernel(const __grid_constant__ AttentionArguments args, int block_rows) {
  LLM_TP_DYNAMIC_SHARED(shared);
  AttentionBlock<kDim, kType, kDivided> block(args, block_rows, shared);
  if (block.has_work()) block.run();
}

template <int kHeadDim, DType kCacheType>
struct KernelFor {
  static constexpr int kDim = kHeadDim;
  static constexpr DType kType = kCacheType;
};
/// visit(KernelFor) of the kernel for such heads and caches.
template <DType kType, class Visit>
auto with_kernel_of(int head_dim, const Visit& visit) {
  if (head_dim <= 16) return visit(KernelFor<16, kType>{});
  if (head_dim <= 32) return visit(KernelFor<32, kType>{});
  if (head_dim <= 64) return visit(KernelFor<64, kType>{});
  if (head_dim <= 128) return visit(KernelFor<128, kType>{});
  if (head_dim <= 256) return visit(KernelFor<256, kType>{});
  throw Error(ExitCode::kUnavailable,
              "device cuda: heads of " + std::to_string(head_dim) + " elements; at most 256 are supported");
}
template <class Visit>
auto with_kernel_of(int head_dim, DType cache_dtype, const Visit& visit) {
  switch (cache_dtype) {
    case DType::kF32:
      return with_kernel_of<DType::kF32>(head_dim, visit);
    case DType::kF16:
      return with_kernel_of<DType::kF16>(head_dim, visit);
    case DType::kBF16:
      return with_kernel_of<DType::kBF16>(head_dim, visit);
    case DType::kInt8:
      return with_kernel_of<DType::kInt8>(head_dim, visit);
    case DType::kE4M3:
      return with_kernel_of<DType::kE4M3>(head_dim, visit);
    default:
      throw_bug("dtype", __FILE__, __LINE__, "a cache of an unknown dtype");
  }
}

template <int kDim, DType kType, Divided kDivided>
void launch_attend(cudaStream_t stream, dim3 grid, const AttentionArguments& args, int block_rows) {
  const auto kernel = attend_kernel<kDim, kType, kDivided>;
  const int bytes = AttentionLayout<kDim, kType, kDivided>::bytes(block_rows);
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
             "cudaFuncSetAttribute");
  launch("attend_kernel", kernel, grid, kAttentionThreads, static_cast<std::size_t>(bytes), stream, args,
         block_rows);
}

bool has_whole_runs(const DeviceCache& cache) {
  return cache.head_dim % 8 == 0 && cache.head_bytes % std::min(8 * number_bytes(cache.dtype), 16) == 0;
}

}  // namespace

int attention_block_rows(int head_dim, DType cache_dtype, std::size_t shared_bytes_at_most) {
  const int bytes = with_kernel_of(head_dim, cache_dtype, [](auto kernel) {
    return AttentionLayout<kernel.kDim, kernel.kType, Divided::kRows>::bytes(64);
  });
  return static_cast<std::size_t>(bytes) <= shared_bytes_at_most ? 64 : 32;
}
std::int64_t partial_state_bytes(std::int64_t rows, const DeviceCache& cache) {
  return rows * cache.heads * std::int64_t{sizeof(float2)};
}
std::int64_t partial_sum_bytes(std::int64_t rows, const DeviceCache& cache) {
  return rows * cache.heads * cache.head_dim * 4;
}

void attend(cudaStream_t stream, AttentionArguments args, const AttentionPlan& plan, int block_rows) {
  args.has_whole_runs = has_whole_runs(args.cache);
  const dim3 grid(static_cast<unsigned>(plan.items.size()), static_cast<unsigned>(args.cache.heads));
  with_kernel_of(args.cache.head_dim, args.cache.dtype, [&](auto kernel) {
    if (plan.has_few_rows)
      launch_attend<kernel.kDim, kernel.kType, Divided::kKeys>(stream, grid, args, kFewRows);
    else
      launch_attend<kernel.kDim, kernel.kType, Divided::kRows>(stream, grid, args, block_rows);
  });
  if (!plan.merges.empty()) merge_chunks(stream, args, plan);
}

}  // namespace llm_tp

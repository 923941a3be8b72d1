#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 128;

/// 16 bytes a thread and turn; pages in blockIdx.y.
__global__ void copy_pages_kernel(DeviceCache cache, const int2* pages) {
  const auto* const from =
      reinterpret_cast<const uint4*>(cache.data + pages[blockIdx.y].x * cache.page_bytes);
  auto* const to = reinterpret_cast<uint4*>(cache.data + pages[blockIdx.y].y * cache.page_bytes);
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < cache.page_bytes / 16; i += threads)
    to[i] = from[i];
}

}  // namespace

void copy_pages(cudaStream_t stream, DeviceCache cache, const int2* pages, std::int64_t count) {
  constexpr unsigned kBlocksOfPage = 4;
  const dim3 grid(kBlocksOfPage, static_cast<unsigned>(count));
  LLM_TP_LAUNCH(copy_pages_kernel, grid, kThreads, 0, stream, cache, pages);
}

}  // namespace llm_tp

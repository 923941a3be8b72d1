#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 128;

/// One thread a number; rows in blockIdx.y, keys and values in blockIdx.z.
__global__ void write_kv_kernel(DeviceCache cache, int layer, DeviceRows k, DeviceRows v,
                                const std::int32_t* slots) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= cache.heads * cache.head_dim) return;
  const DeviceRows& from = blockIdx.z == 0 ? k : v;
  const std::int32_t slot = slots[blockIdx.y];
  const std::int64_t head = cache_index(cache, slot / cache.page_tokens, layer, static_cast<int>(blockIdx.z),
                                        i / cache.head_dim, slot % cache.page_tokens);
  set_cache_value(cache, head + i % cache.head_dim, from.data[blockIdx.y * from.stride + i]);
}

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

void write_kv(cudaStream_t stream, DeviceCache cache, int layer, DeviceRows k, DeviceRows v,
              const std::int32_t* slots) {
  const dim3 grid(blocks_for(k.columns, kThreads), static_cast<unsigned>(k.rows), 2);
  LLM_TP_LAUNCH(write_kv_kernel, grid, kThreads, 0, stream, cache, layer, k, v, slots);
}

void copy_pages(cudaStream_t stream, DeviceCache cache, const int2* pages, std::int64_t count) {
  constexpr unsigned kBlocksOfPage = 4;
  const dim3 grid(kBlocksOfPage, static_cast<unsigned>(count));
  LLM_TP_LAUNCH(copy_pages_kernel, grid, kThreads, 0, stream, cache, pages);
}

}  // namespace llm_tp

#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 128;

/// One warp a vector: heads in blockIdx.x, rows in blockIdx.y, keys and values in blockIdx.z.
__global__ void write_kv_kernel(DeviceCache cache, int layer, DeviceRows k, DeviceRows v,
                                const std::int32_t* slots) {
  const auto head = static_cast<int>(blockIdx.x);
  const DeviceRows& rows = blockIdx.z == 0 ? k : v;
  const float* const from = rows.data + blockIdx.y * rows.stride + std::int64_t{head} * cache.head_dim;
  const std::int32_t slot = slots[blockIdx.y];
  const CacheVector to = cache_vector(cache, slot / cache.page_tokens, layer, static_cast<int>(blockIdx.z),
                                      head, slot % cache.page_tokens);
  float scale = 0.0f;
  if (has_scales(cache.dtype)) {
    // As kernels/vector_codes.h has it.
    float largest = 0.0f;
    int finite = 1;
    for (int d = static_cast<int>(threadIdx.x); d < cache.head_dim; d += 32) {
      if (!(fabsf(from[d]) <= 3.4028234e38f)) finite = 0;
      largest = fmaxf(largest, fabsf(from[d]));
    }
    for (int distance = 16; distance > 0; distance /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, distance));
      finite &= __shfl_xor_sync(~0u, finite, distance);
    }
    scale = finite != 0 ? largest / (cache.dtype == DType::kInt8 ? 127.0f : 448.0f) : NAN;
    if (threadIdx.x == 0) *to.scale = scale;
  }
  for (int d = static_cast<int>(threadIdx.x); d < cache.head_dim; d += 32) to.set(d, from[d], scale);
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
  const dim3 grid(static_cast<unsigned>(cache.heads), static_cast<unsigned>(k.rows), 2);
  LLM_TP_LAUNCH(write_kv_kernel, grid, 32, 0, stream, cache, layer, k, v, slots);
}

void copy_pages(cudaStream_t stream, DeviceCache cache, const int2* pages, std::int64_t count) {
  constexpr unsigned kBlocksOfPage = 4;
  const dim3 grid(kBlocksOfPage, static_cast<unsigned>(count));
  LLM_TP_LAUNCH(copy_pages_kernel, grid, kThreads, 0, stream, cache, pages);
}

}  // namespace llm_tp

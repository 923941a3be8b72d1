#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda/ops.h"

namespace llm_tp {

/// A KV cache in device memory: [page][layer][keys, values][head] { numbers [token][head_dim], with int8 and
/// fp8 f32 scales [token] }, so that a page is one run of bytes and so are the tokens of a head in it.
struct DeviceCache {
  unsigned char* data = nullptr;
  DType dtype = DType::kF16;
  std::int32_t layers = 0, heads = 0, head_dim = 0, page_tokens = 0;
  std::int64_t head_bytes = 0, page_bytes = 0;  // keys or values of a head of a page; a page
};

/// pages [count]: from and to, in device memory.
void copy_pages(cudaStream_t stream, DeviceCache cache, const int2* pages, std::int64_t count);

}  // namespace llm_tp

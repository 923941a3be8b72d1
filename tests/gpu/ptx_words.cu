#include "gpu/ptx_words.h"

#include "kernels/cuda/ptx.cuh"

namespace llm_tp::testing {
namespace {

using Mma = void (*)(float (&)[4], const std::uint32_t (&)[4], const std::uint32_t (&)[2]);

template <Mma kMma>
__global__ void mma_kernel(float* d, const std::uint16_t* a, const std::uint16_t* b) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, c = lane % 4 * 2;
  const auto pair = [](const std::uint16_t* low, int stride) {
    return std::uint32_t{low[0]} | std::uint32_t{low[stride]} << 16;
  };
  const std::uint32_t of_a[4] = {pair(a + g * 16 + c, 1), pair(a + (g + 8) * 16 + c, 1),
                                 pair(a + g * 16 + c + 8, 1), pair(a + (g + 8) * 16 + c + 8, 1)};
  const std::uint32_t of_b[2] = {pair(b + c * 8 + g, 8), pair(b + (c + 8) * 8 + g, 8)};
  float* const upper = d + g * 8 + c;
  float sums[4] = {upper[0], upper[1], upper[64], upper[65]};
  kMma(sums, of_a, of_b);
  upper[0] = sums[0];
  upper[1] = sums[1];
  upper[64] = sums[2];
  upper[65] = sums[3];
}

__global__ void load_matrices_kernel(std::uint32_t* out, const std::uint16_t* matrices) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const rows = reinterpret_cast<std::uint16_t*>(shared);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[lane * 8 + i] = matrices[lane * 8 + i];
  __syncthreads();
  std::uint32_t plain[4], transposed[4];
  load_matrices<false>(plain, rows + lane * 8);
  load_matrices<true>(transposed, rows + lane * 8);
  for (int i = 0; i < 4; ++i) {
    out[lane * 4 + i] = plain[i];
    out[128 + lane * 4 + i] = transposed[i];
  }
}

__global__ void copies_kernel(float* out, const float* numbers) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const copied = reinterpret_cast<float*>(shared);
  const int lane = static_cast<int>(threadIdx.x);
  for (int group = 0; group < 2; ++group) {
    copy_async(copied + group * 128 + lane * 4, numbers + group * 128 + lane * 4);
    commit_copies();
  }
  wait_for_copies<1>();
  __syncthreads();
  for (int i = lane; i < 128; i += 32) out[i] = copied[i];
  wait_for_copies<0>();
  __syncthreads();
  for (int i = lane; i < 128; i += 32) out[128 + i] = copied[128 + i];
}

__global__ void copy_or_zeros_kernel(float* out, const float* numbers, const std::uint32_t* copies) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const copied = reinterpret_cast<float*>(shared);
  const int lane = static_cast<int>(threadIdx.x);
  copy_async_or_zeros(copied + lane * 4, numbers + lane * 4, copies[lane] != 0);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  for (int i = lane; i < 128; i += 32) out[i] = copied[i];
}

__global__ void load_once_kernel(uint4* to_wide, const uint4* wide, uint2* to_narrow, const uint2* narrow) {
  to_wide[threadIdx.x] = load_once(wide + threadIdx.x);
  to_narrow[threadIdx.x] = load_once(narrow + threadIdx.x);
}

__global__ void send_kernel(std::uint32_t* sent, std::uint32_t* flag, const std::uint32_t* numbers) {
  sent[threadIdx.x] = numbers[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) store_release(flag, 7);
}
__global__ void receive_kernel(std::uint32_t* out, const std::uint32_t* sent, const std::uint32_t* flag) {
  if (threadIdx.x == 0)
    while (load_acquire(flag) != 7) let_others_run();
  __syncthreads();
  out[threadIdx.x] = sent[threadIdx.x];
}

__global__ void count_up_kernel(std::uint32_t* were, std::uint32_t* word, std::uint32_t most) {
  were[blockIdx.x * 32 + threadIdx.x] = count_up(word, most);
}

__global__ void exp2_kernel(float* out, const float* x) { out[threadIdx.x] = fast_exp2(x[threadIdx.x]); }

__global__ void divide_kernel(float* out, const float* x, const float* y) {
  out[threadIdx.x] = fast_divide(x[threadIdx.x], y[threadIdx.x]);
}

__global__ void bf16_pair_kernel(std::uint32_t* pairs, const float* numbers) {
  pairs[threadIdx.x] = bf16_pair(numbers[2 * threadIdx.x], numbers[2 * threadIdx.x + 1]);
}

__global__ void fma_bf16_kernel(std::uint32_t* out, const std::uint32_t* a, const std::uint32_t* b,
                                const std::uint32_t* c) {
  out[threadIdx.x] = fma_bf16(a[threadIdx.x], b[threadIdx.x], c[threadIdx.x]);
}

__global__ void and_or_kernel(std::uint32_t* out, const std::uint32_t* x, std::uint32_t mask,
                              std::uint32_t bits) {
  out[threadIdx.x] = and_or(x[threadIdx.x], mask, bits);
}

}  // namespace

void run_mma(cudaStream_t stream, float* d, const std::uint16_t* a, const std::uint16_t* b) {
  LLM_TP_LAUNCH(mma_kernel<mma_bf16>, 1, 32, 0, stream, d, a, b);
}
void run_mma_f16(cudaStream_t stream, float* d, const std::uint16_t* a, const std::uint16_t* b) {
  LLM_TP_LAUNCH(mma_kernel<mma_f16>, 1, 32, 0, stream, d, a, b);
}
void run_load_matrices(cudaStream_t stream, std::uint32_t* out, const std::uint16_t* matrices) {
  LLM_TP_LAUNCH(load_matrices_kernel, 1, 32, 512, stream, out, matrices);
}
void run_copies(cudaStream_t stream, float* out, const float* numbers) {
  LLM_TP_LAUNCH(copies_kernel, 1, 32, 1024, stream, out, numbers);
}
void run_copy_or_zeros(cudaStream_t stream, float* out, const float* numbers, const std::uint32_t* copies) {
  LLM_TP_LAUNCH(copy_or_zeros_kernel, 1, 32, 512, stream, out, numbers, copies);
}
void run_load_once(cudaStream_t stream, uint4* to_wide, const uint4* wide, uint2* to_narrow,
                   const uint2* narrow) {
  LLM_TP_LAUNCH(load_once_kernel, 1, 32, 0, stream, to_wide, wide, to_narrow, narrow);
}
void run_send(cudaStream_t stream, std::uint32_t* sent, std::uint32_t* flag, const std::uint32_t* numbers) {
  LLM_TP_LAUNCH(send_kernel, 1, 32, 0, stream, sent, flag, numbers);
}
void run_receive(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* sent,
                 const std::uint32_t* flag) {
  LLM_TP_LAUNCH(receive_kernel, 1, 32, 0, stream, out, sent, flag);
}
void run_count_up(cudaStream_t stream, std::uint32_t* were, std::uint32_t* word, std::uint32_t most) {
  LLM_TP_LAUNCH(count_up_kernel, 3, 32, 0, stream, were, word, most);
}
void run_exp2(cudaStream_t stream, float* out, const float* x) {
  LLM_TP_LAUNCH(exp2_kernel, 1, 32, 0, stream, out, x);
}
void run_divide(cudaStream_t stream, float* out, const float* x, const float* y) {
  LLM_TP_LAUNCH(divide_kernel, 1, 32, 0, stream, out, x, y);
}
void run_bf16_pair(cudaStream_t stream, std::uint32_t* pairs, const float* numbers) {
  LLM_TP_LAUNCH(bf16_pair_kernel, 1, 32, 0, stream, pairs, numbers);
}
void run_fma_bf16(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* a, const std::uint32_t* b,
                  const std::uint32_t* c) {
  LLM_TP_LAUNCH(fma_bf16_kernel, 1, 32, 0, stream, out, a, b, c);
}
void run_and_or(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* x, std::uint32_t mask,
                std::uint32_t bits) {
  LLM_TP_LAUNCH(and_or_kernel, 1, 32, 0, stream, out, x, mask, bits);
}

}  // namespace llm_tp::testing

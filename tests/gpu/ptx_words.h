#pragma once
#include <cuda_runtime_api.h>
#include <vector_types.h>

#include <cstdint>

namespace llm_tp::testing {

/// One kernel of one warp for every word of kernels/cuda/ptx.cuh. All pointers are of device memory.

/// d [16,8] = a [16,16] * b [16,8] + d, bf16 and f32, loaded lane by lane as ptx.cuh says.
void run_mma(cudaStream_t stream, float* d, const std::uint16_t* a, const std::uint16_t* b);
/// The same of f16 (mma_f16).
void run_mma_f16(cudaStream_t stream, float* d, const std::uint16_t* a, const std::uint16_t* b);
/// out [2][lane][4]: four matrices [4][8][8] by load_matrices, plain and transposed.
void run_load_matrices(cudaStream_t stream, std::uint32_t* out, const std::uint16_t* matrices);
/// out [2][128]: numbers [2][128] copied in two groups, the first read while the second may be on its way.
void run_copies(cudaStream_t stream, float* out, const float* numbers);
/// out [128]: numbers [128], copied or cleared sixteen bytes at a time by copies [32].
void run_copy_or_zeros(cudaStream_t stream, float* out, const float* numbers, const std::uint32_t* copies);
/// wide, narrow [32]: copied by load_once.
void run_load_once(cudaStream_t stream, uint4* to_wide, const uint4* wide, uint2* to_narrow,
                   const uint2* narrow);
/// Stores numbers [32] in sent [32], then 7 in flag.
void run_send(cudaStream_t stream, std::uint32_t* sent, std::uint32_t* flag, const std::uint32_t* numbers);
/// out [32] = sent [32], once flag is 7.
void run_receive(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* sent,
                 const std::uint32_t* flag);
/// were [3][32]: what each of so many threads of three blocks got from count_up.
void run_count_up(cudaStream_t stream, std::uint32_t* were, std::uint32_t* word, std::uint32_t most);
/// out [32]: fast_exp2 of x [32].
void run_exp2(cudaStream_t stream, float* out, const float* x);
/// out [32]: fast_divide of x [32] and y [32].
void run_divide(cudaStream_t stream, float* out, const float* x, const float* y);
/// pairs [32]: bf16_pair of numbers [32][2].
void run_bf16_pair(cudaStream_t stream, std::uint32_t* pairs, const float* numbers);
/// out [32] = fma_bf16 of a, b, c [32]; and_or of x [32], mask and bits.
void run_fma_bf16(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* a, const std::uint32_t* b,
                  const std::uint32_t* c);
void run_and_or(cudaStream_t stream, std::uint32_t* out, const std::uint32_t* x, std::uint32_t mask,
                std::uint32_t bits);

}  // namespace llm_tp::testing

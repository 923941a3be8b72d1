#pragma once

/// Of a function that kernels call too: one text, so one arithmetic, on the host and on GPUs.
#ifdef __CUDACC__
#define LLM_TP_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define LLM_TP_HOST_DEVICE [[gnu::always_inline]] inline
#endif

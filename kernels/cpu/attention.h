#pragma once
#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

/// DeviceBackend::attend (online softmax: Milakov & Gimelshein 2018; blocks: Dao et al. 2022). For one query
/// and one head:
///   s_j = scale * (q . k_j), the dot product a chain of fma over head_dim in index order;
///   with a soft cap: s_j = cap * tanh(s_j / cap);
///   keys in blocks of 64 at positions 64 b, in order; a block without a visible key is passed over:
///     m' = max(m, max s_j); p_j = exp(s_j - m'); c = exp(m - m');
///     l = l * c + p in 16 interleaved partial sums; acc_d = acc_d * c, then a chain of fma(p_j, v_jd) in key
///     order;
///   out_d = acc_d / l, l folded by halves.
/// With codes and scales (vector_codes.h): q . k_j is (q . codes of k_j) * the scale of k_j, and the chain
/// for values is fma(p_j * the scale of v_j, code of v_jd). Which queries share a tile, or how the work is
/// split, is not in it: a row's bits depend on that row's keys alone. Unseen keys are never multiplied, so
/// memory that holds no token may hold anything.
void attend(ThreadPool& pool, TensorView out, TensorView q, const CpuKvCache& cache, int layer,
            const Batch& batch, const HeadMap& heads, const AttentionOptions& options);

}  // namespace llm_tp

#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "base/sum_tree.h"
#include "kernels/cuda/ops.h"

namespace llm_tp {

/// out [elements] = the sum of a tree (base/sum_tree.h) over roots [root][stride], of which the first
/// `elements` of each are added and overwritten: root into = root into + root from, in order; the sum ends in
/// root 0. The same additions as the CPU's, so the same bits. out may be root 0 and must not overlap another,
/// or null: the sum stays in root 0.
void tree_sum(cudaStream_t stream, float* out, float* roots, std::int64_t stride, std::int64_t elements,
              std::span<const TreeAddition> additions);

/// add_norm (ops.h) of such a sum of roots [root][stride], each the rows of h one after the other, and no
/// more memory for it. The same bits.
void tree_add_norm(cudaStream_t stream, const DeviceResidualNorm& norm, float* roots, std::int64_t stride,
                   std::span<const TreeAddition> additions);

}  // namespace llm_tp

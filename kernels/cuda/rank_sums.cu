#include "kernels/cuda/rank_sums.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/norm.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 256;
constexpr int kStepsAtOnce = 128;

/// A piece of the list of additions. By value: no table in device memory has to be there before the sum.
struct TreeSteps {
  std::uint16_t into[kStepsAtOnce], from[kStepsAtOnce];
  int count;
};

TreeSteps steps_of(std::span<const TreeAddition> additions) {
  TreeSteps steps{};
  steps.count = static_cast<int>(additions.size());
  for (std::size_t s = 0; s < additions.size(); ++s) {
    LLM_TP_CHECK(additions[s].into < 65536 && additions[s].from < 65536, "a sum of more than 65536 roots");
    steps.into[s] = static_cast<std::uint16_t>(additions[s].into);
    steps.from[s] = static_cast<std::uint16_t>(additions[s].from);
  }
  return steps;
}

/// One thread an element.
__global__ void tree_sum_kernel(float* out, float* roots, std::int64_t stride, std::int64_t elements,
                                const __grid_constant__ TreeSteps steps) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  float* const own = roots + i;
  for (int s = 0; s < steps.count; ++s) {
    float* const into = own + steps.into[s] * stride;
    *into = *into + own[steps.from[s] * stride];
  }
  if (out != nullptr) out[i] = own[0];
}

/// One block a row.
__global__ void __launch_bounds__(kNormThreads)
    tree_add_norm_kernel(const __grid_constant__ DeviceResidualNorm norm, float* roots, std::int64_t stride,
                         const __grid_constant__ TreeSteps steps) {
  float* const row = roots + blockIdx.x * norm.h.columns;
  add_norm_row(norm, blockIdx.x, [&](float(&numbers)[kNormAhead], std::int64_t first) {
    const auto load = [&](float(&to)[kNormAhead], int root) {
      load_ahead(to, row + root * stride, first, norm.h.columns);
    };
    for (int s = 0; s < steps.count; ++s) {
      float added[kNormAhead];
      load(numbers, steps.into[s]);
      load(added, steps.from[s]);
#pragma unroll
      for (int k = 0; k < kNormAhead; ++k) {
        const std::int64_t i = first + k * kNormThreads;
        if (i < norm.h.columns) row[steps.into[s] * stride + i] = numbers[k] + added[k];
      }
    }
    load(numbers, 0);
  });
}

}  // namespace

void tree_sum(cudaStream_t stream, float* out, float* roots, std::int64_t stride, std::int64_t elements,
              std::span<const TreeAddition> additions) {
  do {
    const auto some = additions.first(std::min<std::size_t>(additions.size(), kStepsAtOnce));
    additions = additions.subspan(some.size());
    LLM_TP_LAUNCH(tree_sum_kernel, blocks_for(elements, kThreads), kThreads, 0, stream,
                  additions.empty() ? out : nullptr, roots, stride, elements, steps_of(some));
  } while (!additions.empty());
}

void tree_add_norm(cudaStream_t stream, const DeviceResidualNorm& norm, float* roots, std::int64_t stride,
                   std::span<const TreeAddition> additions) {
  if (additions.size() > kStepsAtOnce) {
    tree_sum(stream, nullptr, roots, stride, norm.h.rows * norm.h.columns,
             additions.first(additions.size() - kStepsAtOnce));
    additions = additions.last(kStepsAtOnce);
  }
  LLM_TP_LAUNCH(tree_add_norm_kernel, static_cast<unsigned>(norm.h.rows), kNormThreads, 0, stream, norm,
                roots, stride, steps_of(additions));
}

}  // namespace llm_tp

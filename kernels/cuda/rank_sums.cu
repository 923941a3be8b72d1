#include "kernels/cuda/rank_sums.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/device.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 256;
constexpr int kStepsAtOnce = 128;

/// A piece of the list of additions. By value: no table in device memory has to be there before the sum.
struct TreeSteps {
  std::uint16_t into[kStepsAtOnce], from[kStepsAtOnce];
  int count;
};

/// One thread an element.
__global__ void tree_sum_kernel(float* out, float* roots, std::int64_t stride, std::int64_t elements,
                                TreeSteps steps) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  float* const own = roots + i;
  for (int s = 0; s < steps.count; ++s) {
    float* const into = own + steps.into[s] * stride;
    *into = *into + own[steps.from[s] * stride];
  }
  if (out != nullptr) out[i] = own[0];
}

}  // namespace

void tree_sum(cudaStream_t stream, float* out, float* roots, std::int64_t stride, std::int64_t elements,
              std::span<const TreeAddition> additions) {
  do {
    const std::size_t count = std::min<std::size_t>(additions.size(), kStepsAtOnce);
    TreeSteps steps{};
    steps.count = static_cast<int>(count);
    for (std::size_t s = 0; s < count; ++s) {
      LLM_TP_CHECK(additions[s].into < 65536 && additions[s].from < 65536, "a sum of more than 65536 roots");
      steps.into[s] = static_cast<std::uint16_t>(additions[s].into);
      steps.from[s] = static_cast<std::uint16_t>(additions[s].from);
    }
    additions = additions.subspan(count);
    LLM_TP_LAUNCH(tree_sum_kernel, blocks_for(elements, kThreads), kThreads, 0, stream,
                  additions.empty() ? out : nullptr, roots, stride, elements, steps);
  } while (!additions.empty());
}

}  // namespace llm_tp

#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/sum_tree.h"
#include "base/tensor.h"
#include "comm/communicator.h"

namespace llm_tp {

/// out[i] = the sum of the tree over roots[0][i] .. roots[n-1][i] for i < elements: what every transport ends
/// with, so that the bits are the same for all of them. Roots are only read and may lie in the memory of
/// other ranks; out must not alias them. Any thread may call it.
void evaluate_tree(std::span<const TreeAddition> additions, std::span<const float* const> roots, float* out,
                   std::int64_t elements);

/// The shapes of sum_tree, checked: out [T,N], mine [R,T,N]. Returns T * N. Errors: kBug.
std::int64_t checked_elements(TensorView out, TensorView mine, const TreeParts& parts, int rank, int world);

/// The shapes and owners of share_rows, checked: out, mine [T,N]; owners [T] in 0 .. world - 1. Errors: kBug.
void check_shared_rows(TensorView out, TensorView mine, std::span<const int> owners, int world);

/// The elements of a sum that one of `world` ranks adds.
inline Range even_slice(std::int64_t elements, int rank, int world) noexcept {
  return {elements * rank / world, elements * (rank + 1) / world};
}

/// Elements [begin, end) of a [T,N] f32 tensor, counted as if its rows followed each other, as contiguous
/// runs in order: visit(float* run, std::int64_t first, std::int64_t elements).
template <typename Visit>
void for_each_run(TensorView tensor, std::int64_t begin, std::int64_t end, const Visit& visit) {
  const std::int64_t columns = tensor.columns();
  float* const data = reinterpret_cast<float*>(tensor.data);
  if (tensor.row_stride == columns) {
    if (begin < end) visit(data + begin, begin, end - begin);
    return;
  }
  while (begin < end) {
    const std::int64_t row = begin / columns;
    const std::int64_t run = std::min(end, (row + 1) * columns) - begin;
    visit(data + row * tensor.row_stride + (begin - row * columns), begin, run);
    begin += run;
  }
}

/// Adds the time until its end to a sum of seconds.
class CallTimer {
 public:
  explicit CallTimer(double& seconds) : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~CallTimer() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  CallTimer(const CallTimer&) = delete;
  CallTimer& operator=(const CallTimer&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace llm_tp

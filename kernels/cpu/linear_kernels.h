#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "base/sum_tree.h"

// What the translation units of the instruction sets share with linear.cc. Plain data only: an inline
// function here could be compiled for a newer processor and picked by the linker for an older one.

namespace llm_tp::cpu {

/// A complete subtree of this rank's leaves and where its leaves lie in this rank's columns.
struct RootPlan {
  int leaves;                  // 2^level
  const std::int64_t* begins;  // [leaves + 1] columns of this rank
};

struct LinearJob {
  DType dtype;
  bool int8_activations;
  const std::byte* panels;
  std::int64_t panel_bytes, rows, columns;  // N, K of this rank
  const RootPlan* roots;
  int root_count;
  const float* x;  // [T,K], plain kernels
  std::int64_t x_stride;
  const std::int8_t* xq;   // [T,K]
  const float* xd;         // [T,K/32] scales
  const float* xsum;       // [T,K/32] scale * sum of xq
  const std::int32_t* xi;  // [T,K/32] sum of xq
  float* out;              // [R,T,N]
  std::int64_t out_stride, root_stride;
  const float* bias;  // or null
};

/// Panels [begin, end), rows [t0, t1) of x.
using PanelKernel = void (*)(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0,
                             std::int64_t t1);
/// Rounds one row of k numbers to int8 blocks.
using QuantiseKernel = void (*)(const float* x, std::int64_t k, std::int8_t* xq, float* xd, float* xsum,
                                std::int32_t* xi);

struct LinearKernels {
  PanelKernel panels;
  QuantiseKernel quantise;
};
extern const LinearKernels kLinearAvx2;

}  // namespace llm_tp::cpu

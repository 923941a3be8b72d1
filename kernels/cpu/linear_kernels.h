#pragma once
#include <cstdint>

#include "base/dtype.h"

// What the translation units of the instruction sets share with linear.cc. Plain data only: an inline
// function here could be compiled for a newer processor and picked by the linker for an older one.

namespace llm_tp::cpu {

/// A complete subtree of this rank's leaves and where its leaves lie in this rank's columns.
struct RootPlan {
  int leaves;                  // 2^level
  const std::int64_t* begins;  // [leaves + 1] columns of this rank
};

/// Rows of x rounded to int8 in blocks of 32 columns, in tiles: the rows from t on are cut into tiles of a
/// power of two of rows, as large as the kernels' int8_rows and the rows left allow. The tile of `width` rows
/// at t holds for block b the quants of row t + i at q[(t * blocks + b * width + i) * 32]; the other arrays
/// have the same order.
struct RoundedRows {
  std::int8_t* q;
  float* d;               // scale
  float* dsum;            // scale * sum of q
  std::int32_t* half;     // sum of the first 16 of q
  std::int32_t* minus8q;  // -8 * sum of q: what an offset of 8 in the weights' quants adds too much
};

struct LinearJob {
  const std::byte* panels;
  std::int64_t panel_bytes, rows, columns;  // N, K of this rank
  const RootPlan* roots;
  int root_count;
  const float* x;  // [T,K]
  std::int64_t x_stride;
  RoundedRows rounded;  // x for the int8 kernels
  float* out;           // [R,T,N]
  std::int64_t out_stride, root_stride;
  const float* bias;                     // or null
  std::int64_t block_bytes, block_mask;  // of group_layout.h: a block, its columns less one
  int block_shift;                       // log2 of its columns
  const std::uint16_t* column_groups;    // [K] where columns have factors of their own
  std::int64_t column_group_count;
};

/// Panels [begin, end), rows [t0, t1) of x; t0 and t1 are borders of tiles.
using PanelKernel = void (*)(const LinearJob& job, std::int64_t begin, std::int64_t end, std::int64_t t0,
                             std::int64_t t1);
/// Rounds rows [t0, t1) of x, t0 and t1 borders of tiles.
using RoundKernel = void (*)(const LinearJob& job, std::int64_t t0, std::int64_t t1);

struct WeightKernels {
  DType dtype;
  PanelKernel exact;  // f32 activations
  PanelKernel int8;   // int8 activations; null for plain weights
};

/// The kernels of one instruction set; all give the same bits.
struct LinearKernels {
  const WeightKernels* weights;
  int weight_count;
  int int8_rows;  // of the largest tile, a power of two
  RoundKernel round;
};
extern const LinearKernels kLinearAvx2, kLinearAvx512Vnni;

}  // namespace llm_tp::cpu

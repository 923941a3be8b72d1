#pragma once
#include "base/tensor.h"
#include "kernels/cuda/linear.h"

namespace llm_tp {

/// A matrix of bf16 in device memory, row-major.
struct Bf16Matrix {
  std::uint16_t* data = nullptr;
  std::int64_t stride = 0;  // elements from row to row
  std::int64_t rows = 0, columns = 0;

  Bf16Matrix column_range(Range range) const { return {data + range.begin, stride, rows, range.size()}; }
};

// Both fill rows of 16 * weight.step_count columns: the leaves of the weight one after the other, each filled
// up with zeros to a multiple of 16, so that products of the two skip nothing and every leaf is aligned.

/// out = the out.rows rows, a multiple of 16, that lie in the tile rows from first_tile on, rounded to bf16;
/// of gated weights all gates first, then what they are for. Rows beyond the weight's last hold anything.
void unpack_tiles(cudaStream_t stream, Bf16Matrix out, const DeviceWeight& weight, std::int64_t first_tile);
/// out [T, ...] = x [T, columns of the weight], rounded to bf16.
void round_rows(cudaStream_t stream, Bf16Matrix out, DeviceRows x, const DeviceWeight& weight);

}  // namespace llm_tp

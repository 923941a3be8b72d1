#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/activation.h"
#include "kernels/cuda/heads.h"
#include "kernels/cuda/ops.h"

namespace llm_tp {

/// A packed weight in device memory (kernels/cuda/packed_weight.h says how).
struct DeviceWeight {
  const unsigned char* tiles = nullptr;
  const std::int32_t* leaf_units = nullptr;  // [leaves + 1]
  const int2* steps = nullptr;               // [steps]: first column of 16, and how many of them the leaf has
  const int2* roots = nullptr;               // [root_count]: first leaf of this rank's, and level
  DType dtype = DType::kF32;                 // kernel_dtype() of the weight's
  std::int64_t row_bytes = 0;                // of a tile row
  std::int32_t rows = 0, units = 0, leaves = 0, root_count = 0, step_count = 0, deepest_level = 0;
  std::int32_t group_shift = 0;  // 2^group_shift units share factors, where groups are of any size
  bool gated = false;            // a tile row holds eight gates, then what they are for
};

/// The other operand of mma_bf16: three bf16 numbers for each of x, whose sum is x (24 bits of it). They are
/// made once, in the order in which lanes hold operand b: [tile of 8 tokens][step of 16 columns][part][lane],
/// zero for tokens beyond the last. Products of one token may split it themselves.
struct DeviceOperand {
  DeviceRows x;                 // [T, columns of the weight]
  std::int32_t tiles = 0;       // of 8 tokens
  uint2* parts = nullptr;       // null where splits_inside()
  std::int32_t part_count = 3;  // or 1: x is rounded to bf16, for products of many tokens
  float* block_sums = nullptr;  // [tile][block of 32 columns][token]: for weights with minima, else null
};

constexpr int kOperandParts = 3;
constexpr int kFewTokens = 16;          // up to which a product is one pass over the weights
constexpr int kTokenTilesTogether = 4;  // beyond: tiles of tokens a warp keeps
/// Tiles of tokens that an operand of so many tokens has.
std::int32_t operand_tiles(std::int64_t tokens);
/// Whether linear() of so few tokens takes x as it is: a single one, where shared memory holds its parts.
bool splits_inside(const DeviceWeight& weight, std::int64_t tokens, std::size_t shared_bytes_at_most);
/// Bytes of its parts and of its block sums; 0 where it has none of the latter.
std::int64_t operand_bytes(const DeviceWeight& weight, std::int64_t tokens, std::int32_t part_count);
std::int64_t block_sum_bytes(const DeviceWeight& weight, std::int64_t tokens);

/// Fills from x what the operand has room for.
void fill_operand(cudaStream_t stream, const DeviceOperand& operand, const DeviceWeight& weight);

/// out [roots][T, rows]: root r begins root_stride numbers after root r - 1. bias [rows] may be null.
/// Each leaf is one chain of mma over its columns in order, parts in order; leaves are added along the tree.
/// The chain of an output is the same for any T, so its bits are. Errors: kUnavailable for more leaves than
/// shared memory holds.
void linear(cudaStream_t stream, DeviceRows out, std::int64_t root_stride, DeviceOperand operand,
            const DeviceWeight& weight, const float* bias, std::size_t shared_bytes_at_most);
/// out [T, rows / 2]: act(gate) * up of what linear() makes of a gated weight of one root, for up to
/// kFewTokens tokens.
void linear_gated(cudaStream_t stream, DeviceRows out, Activation activation, DeviceOperand operand,
                  const DeviceWeight& weight, const float* bias, std::size_t shared_bytes_at_most);

/// linear() of queries, keys and values, then prepare_heads() of what it made: one launch, for a weight of
/// one root and up to kFewTokens tokens.
void linear_heads(cudaStream_t stream, DeviceRows out, DeviceOperand operand, const DeviceWeight& weight,
                  const float* bias, const HeadTail& tail, std::size_t shared_bytes_at_most);

/// out row t = row tokens[t] - first_row of the table, or zeros where it has no such row.
void embed(cudaStream_t stream, DeviceRows out, const std::int32_t* tokens, std::int32_t first_row,
           const DeviceWeight& table);

}  // namespace llm_tp

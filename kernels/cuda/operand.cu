#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/block_layout.h"
#include "kernels/cuda/linear.h"

namespace llm_tp {
namespace {

constexpr int kWarps = 8;

/// One warp a step of 16 columns; tiles of tokens in blockIdx.y.
__global__ void split_operand_kernel(DeviceOperand operand, const int2* steps, int step_count) {
  const DeviceRows& x = operand.x;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int step = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (step >= step_count) return;
  const std::int64_t token = std::int64_t{blockIdx.y} * 8 + lane / 4;
  const int2 columns = steps[step];
  std::uint32_t pairs[2][kOperandParts];
  for (int half = 0; half < 2; ++half) {
    float numbers[2];
    for (int j = 0; j < 2; ++j) {
      const int i = half * 8 + lane % 4 * 2 + j;
      numbers[j] = token < x.rows && i < columns.y ? x.data[token * x.stride + columns.x + i] : 0.0f;
    }
    split_pair(numbers[0], numbers[1], pairs[half]);
  }
  uint2* const to =
      operand.parts + (std::int64_t{blockIdx.y} * step_count + step) * operand.part_count * 32 + lane;
#pragma unroll
  for (int part = 0; part < kOperandParts; ++part)
    if (part < operand.part_count) to[part * 32] = uint2{pairs[0][part], pairs[1][part]};
}

/// One thread a token and a block of 32 columns; tiles of tokens in blockIdx.y.
__global__ void block_sums_kernel(float* sums, DeviceRows x, int blocks) {
  const int item = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (item >= blocks * 8) return;
  const std::int64_t token = std::int64_t{blockIdx.y} * 8 + item % 8;
  float sum = 0.0f;
  if (token < x.rows)
    for (int i = 0; i < 32; ++i) sum = sum + x.data[token * x.stride + item / 8 * 32 + i];
  sums[std::int64_t{blockIdx.y} * blocks * 8 + item] = sum;
}

}  // namespace

std::int32_t operand_tiles(std::int64_t tokens) {
  const std::int64_t together = tokens <= kFewTokens ? 1 : kTokenTilesTogether;
  return static_cast<std::int32_t>((tokens + 8 * together - 1) / (8 * together) * together);
}
std::int64_t operand_bytes(const DeviceWeight& weight, std::int64_t tokens, std::int32_t part_count) {
  return std::int64_t{operand_tiles(tokens)} * weight.step_count * part_count * 32 * 8;
}
std::int64_t block_sum_bytes(const DeviceWeight& weight, std::int64_t tokens) {
  return block_layout(weight.dtype).has_dmin ? std::int64_t{operand_tiles(tokens)} * weight.units * 8 * 4 : 0;
}

void fill_operand(cudaStream_t stream, const DeviceOperand& operand, const DeviceWeight& weight) {
  const auto tiles = static_cast<unsigned>(operand.tiles);
  if (operand.parts != nullptr)
    LLM_TP_LAUNCH(split_operand_kernel, dim3(blocks_for(weight.step_count, kWarps), tiles), 32 * kWarps, 0,
                  stream, operand, weight.steps, weight.step_count);
  if (operand.block_sums != nullptr)
    LLM_TP_LAUNCH(block_sums_kernel, dim3(blocks_for(std::int64_t{weight.units} * 8, 128), tiles), 128, 0,
                  stream, operand.block_sums, operand.x, weight.units);
}

}  // namespace llm_tp

#include "kernels/cuda/linear.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda/linear_few.cuh"

namespace llm_tp {
namespace {

template <DType kType, int kTiles, After kAfter>
__global__ void __launch_bounds__(32 * kFewWarps, 2)
    linear_few_kernel(const __grid_constant__ LinearArguments args, RowBlock rows) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const leaf_sums = reinterpret_cast<float*>(shared);
  const DeviceWeight& weight = args.weight;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t first_tile = std::int64_t{blockIdx.y} * kTiles;
  const uint2* parts[kTiles];
  for (int n = 0; n < kTiles; ++n)
    parts[n] = args.operand.parts + (first_tile + n) * weight.step_count * kOperandParts * 32 + lane;
  const auto block_sum = [&](int n, int unit, int j) {
    return args.operand.block_sums[((first_tile + n) * weight.units + unit) * 8 + tile_token(lane, j)];
  };
  multiply_few<kType, kTiles>(weight, weight.tiles, rows, parts, block_sum, leaf_sums);
  add_few<kTiles>(args, rows, leaf_sums, first_tile * 8, kTiles * 8);
  if constexpr (kAfter == After::kHeads) {
    const int of_block = rows.together * 16, first = static_cast<int>(blockIdx.x) * of_block;
    finish_heads(args.tail, first, first + of_block, of_block, static_cast<int>(gridDim.y),
                 static_cast<int>(args.out.rows), reinterpret_cast<int*>(shared));
  }
}

/// As many as a large chip has multiprocessors.
constexpr unsigned kEnoughBlocks = 128;

/// Of a tile row's leaves, in shared memory.
std::size_t leaf_sum_bytes(const DeviceWeight& weight, int token_tiles) {
  return static_cast<std::size_t>(weight.leaves * token_tiles) * kLeafNumbers * sizeof(float);
}

constexpr int kManyTiles = kTokenTilesTogether, kManyNumbers = kManyTiles * 4;
constexpr int kStageSteps = 4;
constexpr __host__ __device__ int stage_bytes(int parts) { return kManyTiles * kStageSteps * parts * 32 * 8; }

/// A lane's operand in a stage: [token tile][step][part][lane]. at: the lane's first of the unit's steps.
template <int kPartCount>
struct StageOperand {
  static constexpr int kParts = kPartCount;
  const uint2* at;
  __device__ uint2 operator()(int step, int n, int part) const {
    return at[((n * kStageSteps + step) * kParts + part) * 32];
  }
};

/// Many tokens: a warp has 16 rows and 32 tokens and walks all leaves; the operand passes through shared
/// memory, two stages of 64 columns in turn, and the weights of the next stage are asked for before this
/// one's are multiplied. Sums of subtrees that wait for their right half lie in shared memory, a thread's
/// own.
template <DType kType, int kParts>
__global__ void __launch_bounds__(256) linear_many_kernel(LinearArguments args) {
  using Unit = WeightUnit<kType>;
  constexpr int kStageBytes = stage_bytes(kParts);
  LLM_TP_DYNAMIC_SHARED(shared);
  const DeviceWeight& weight = args.weight;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const std::int64_t tile = std::int64_t{blockIdx.x} * warps + warp;
  const bool has_rows = tile * 16 < weight.rows;
  const unsigned char* const tiles = weight.tiles + tile * weight.row_bytes;
  const std::int64_t first_token_tile = std::int64_t{blockIdx.y} * kManyTiles;
  auto* const waiting =
      reinterpret_cast<float*>(shared + 2 * kStageBytes) + threadIdx.x;  // [level][16][thread]
  const auto waiting_at = [&](int level, int i) -> float& {
    return waiting[(level * kManyNumbers + i) * static_cast<int>(blockDim.x)];
  };

  // [token tile][step][part][lane] of the stage, each tile of tokens one run in global memory.
  const auto start_stage = [&](int stage) {
    const int first = stage * kStageSteps;
    const int left = weight.step_count - first;
    const int pieces = (left < kStageSteps ? left : kStageSteps) * kParts * 16;  // of 16 bytes, a tile
    for (int n = 0; n < kManyTiles; ++n) {
      const auto* const from = reinterpret_cast<const uint4*>(
          args.operand.parts + ((first_token_tile + n) * weight.step_count + first) * kParts * 32);
      auto* const to =
          reinterpret_cast<uint4*>(shared + stage % 2 * kStageBytes + n * (kStageBytes / kManyTiles));
      for (int i = static_cast<int>(threadIdx.x); i < pieces; i += static_cast<int>(blockDim.x))
        copy_async(to + i, from + i);
    }
  };

  constexpr int kStageUnits = kStageSteps / Unit::kTilesOfUnit;
  Unit units[kStageUnits], next_units[kStageUnits];
  const auto load_units = [&](Unit(&to)[kStageUnits], int stage) {
#pragma unroll
    for (int i = 0; i < kStageUnits; ++i)
      if (const int u = stage * kStageUnits + i; has_rows && u < weight.units)
        to[i].load(weight, tiles, u, lane);
  };

  float sums[kManyTiles][4] = {};
  int leaf = 0, root = 0;
  const auto end_leaf = [&] {
    const int place = leaf - weight.roots[root].x, level_of_root = weight.roots[root].y;
    int level = 0;
    for (; place >> level & 1; ++level)
      for (int i = 0; i < kManyNumbers; ++i) sums[i / 4][i % 4] = waiting_at(level, i) + sums[i / 4][i % 4];
    if (level < level_of_root) {
      for (int i = 0; i < kManyNumbers; ++i) waiting_at(level, i) = sums[i / 4][i % 4];
    } else {
      for (int i = 0; i < kManyNumbers; ++i)
        store(args, root, weight_row(weight, tile, tile_row(lane, i % 4)),
              (first_token_tile + i / 4) * 8 + tile_token(lane, i % 4), sums[i / 4][i % 4]);
      ++root;
    }
    for (int i = 0; i < kManyNumbers; ++i) sums[i / 4][i % 4] = 0.0f;
    ++leaf;
  };

  const int stages = (weight.step_count + kStageSteps - 1) / kStageSteps;
  start_stage(0);
  commit_copies();
  load_units(units, 0);
  for (int stage = 0; stage < stages; ++stage) {
    if (stage + 1 < stages) start_stage(stage + 1);
    commit_copies();
    load_units(next_units, stage + 1);
    wait_for_copies<1>();
    __syncthreads();
    if (has_rows) {
      const auto* const operand = reinterpret_cast<const uint2*>(shared + stage % 2 * kStageBytes) + lane;
#pragma unroll
      for (int i = 0; i < kStageUnits; ++i) {
        const int u = stage * kStageUnits + i;
        if (u >= weight.units) break;
        units[i].multiply(
            sums, StageOperand<kParts>{operand + i * Unit::kTilesOfUnit * kParts * 32}, [&](int n, int j) {
              return args.operand
                  .block_sums[((first_token_tile + n) * weight.units + u) * 8 + tile_token(lane, j)];
            });
        if (u + 1 == weight.leaf_units[leaf + 1]) end_leaf();
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kStageUnits; ++i) units[i] = next_units[i];
  }
  wait_for_copies<0>();
}

template <DType kType, int kTiles>
void launch_few(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  const FewShape shape = few_shape(args.weight, kTiles, most);
  const auto kernel = args.tail.counts == nullptr ? linear_few_kernel<kType, kTiles, After::kNothing>
                                                  : linear_few_kernel<kType, kTiles, After::kHeads>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
             "cudaFuncSetAttribute");
  const dim3 grid(shape.blocks, static_cast<unsigned>(args.operand.tiles / kTiles));
  launch("linear_few_kernel", kernel, grid, 32 * kFewWarps, shape.shared_bytes, stream, args, shape.rows);
}

template <DType kType, int kParts>
void launch_many(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  const auto bytes_with = [&](int warps) {
    return 2 * stage_bytes(kParts) +
           static_cast<std::size_t>(warps * 32 * args.weight.deepest_level * kManyNumbers) * 4;
  };
  int warps = 8;
  while (warps > 1 && bytes_with(warps) > most) warps /= 2;
  const auto kernel = linear_many_kernel<kType, kParts>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
             "cudaFuncSetAttribute");
  const dim3 grid(blocks_for(args.weight.rows, 16 * warps),
                  static_cast<unsigned>(args.operand.tiles / kTokenTilesTogether));
  launch("linear_many_kernel", kernel, grid, static_cast<unsigned>(32 * warps), bytes_with(warps), stream,
         args);
}

template <DType kType>
void launch_linear(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  if (args.out.rows <= kFewTokens && args.operand.tiles == 2 && leaf_sum_bytes(args.weight, 2) <= most)
    launch_few<kType, 2>(stream, args, most);
  else if (args.out.rows <= kFewTokens)
    launch_few<kType, 1>(stream, args, most);
  else if (args.operand.part_count == 1)
    launch_many<kType, 1>(stream, args, most);
  else
    launch_many<kType, kOperandParts>(stream, args, most);
}

void launch(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  if (splits_inside(args.weight, args.out.rows, most)) return linear_one(stream, args, most);
  for_weight_type(args.weight.dtype, [&]<DType kType>() { launch_linear<kType>(stream, args, most); });
}

}  // namespace

FewShape few_shape(const DeviceWeight& weight, int token_tiles, std::size_t most) {
  const std::size_t of_row = leaf_sum_bytes(weight, token_tiles);
  if (of_row > most)
    throw Error(ExitCode::kUnavailable, "device cuda: a layer of " + std::to_string(weight.leaves) +
                                            " leaves on one rank is more than its shared memory holds (" +
                                            std::to_string(most / 512) + "); use more ranks");
  int together = kFewWarps / 2;
  while (together > 1 &&
         (blocks_for(weight.rows, 16 * together) < kEnoughBlocks || together * of_row > most / 4))
    together /= 2;
  return {{together}, static_cast<std::size_t>(together) * of_row, blocks_for(weight.rows, 16 * together)};
}

void linear(cudaStream_t stream, DeviceRows out, std::int64_t root_stride, DeviceOperand operand,
            const DeviceWeight& weight, const float* bias, std::size_t shared_bytes_at_most) {
  launch(stream, {weight, operand, out, root_stride, bias}, shared_bytes_at_most);
}

void linear_gated(cudaStream_t stream, DeviceRows out, Activation activation, DeviceOperand operand,
                  const DeviceWeight& weight, const float* bias, std::size_t shared_bytes_at_most) {
  LLM_TP_CHECK(weight.gated && weight.root_count == 1 && out.rows <= kFewTokens,
               "linear_gated: another weight, or many tokens");
  launch(stream, {weight, operand, out, 0, bias, true, activation}, shared_bytes_at_most);
}

void linear_heads(cudaStream_t stream, DeviceRows out, DeviceOperand operand, const DeviceWeight& weight,
                  const float* bias, const HeadTail& tail, std::size_t shared_bytes_at_most) {
  LLM_TP_CHECK(!weight.gated && weight.root_count == 1 && out.rows <= kFewTokens,
               "linear_heads: another weight, or many tokens");
  launch(stream, {weight, operand, out, 0, bias, false, {}, tail}, shared_bytes_at_most);
}

}  // namespace llm_tp

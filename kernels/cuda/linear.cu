#include "kernels/cuda/linear.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/weight_unit.cuh"

namespace llm_tp {
namespace {

struct LinearArguments {
  DeviceWeight weight;
  DeviceOperand operand;
  DeviceRows out;
  std::int64_t root_stride;
  const float* bias;
  bool gates = false;  // out is act(gate) * up; of few tokens alone
  Activation activation = Activation::kSilu;
};

/// What lane `lane` holds of a product of 16 rows and 8 tokens, number i: row and token inside the tile.
__device__ inline int tile_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
__device__ inline int tile_token(int lane, int i) { return lane % 4 * 2 + i % 2; }

/// The row of a weight that lies in row r of one of its tiles; weight.rows or more where none does.
__device__ inline std::int64_t weight_row(const DeviceWeight& weight, std::int64_t tile, int r) {
  if (!weight.gated) return tile * 16 + r;
  const std::int64_t half = weight.rows / 2, gate = tile * 8 + r % 8;
  return gate < half ? gate + r / 8 * half : weight.rows;
}

__device__ inline void store(const LinearArguments& to, int root, std::int64_t row, std::int64_t token,
                             float sum) {
  if (row >= to.weight.rows || token >= to.out.rows) return;
  if (to.bias != nullptr) sum = sum + to.bias[row];
  to.out.data[root * to.root_stride + token * to.out.stride + row] = sum;
}

/// Number i of a lane's four is a gate, and number i + 2, its neighbour's but one, what it is for. All lanes
/// of a warp call it.
__device__ inline void store_gated(const LinearArguments& to, std::int64_t row, std::int64_t token, int i,
                                   float sum) {
  if (to.bias != nullptr && row < to.weight.rows) sum = sum + to.bias[row];
  const float up = __shfl_xor_sync(~0u, sum, 2);
  if (i < 2 && row < to.weight.rows && token < to.out.rows)
    to.out.data[token * to.out.stride + row] = gate_times(to.activation, sum, up);
}

constexpr int kFewWarps = 8;
constexpr int kLeafNumbers = 128;  // 16 rows x 8 tokens
constexpr int kRunUnits = 4;       // of the weight, that a warp asks for at once

/// Up to kRunUnits neighbouring units of a leaf. A warp has every kFewWarps-th leaf.
template <class Unit>
struct UnitRun {
  int leaf, first, end;    // units: the run's first, the leaf's end
  int column, column_end;  // likewise
  static __device__ UnitRun of_leaf(const DeviceWeight& weight, int leaf) {
    if (leaf >= weight.leaves) return {leaf, 0, 0, 0, 0};
    const int first = weight.leaf_units[leaf], end = weight.leaf_units[leaf + 1];
    const int2 last_step = weight.steps[end * Unit::kTilesOfUnit - 1];
    return {leaf, first, end, weight.steps[first * Unit::kTilesOfUnit].x, last_step.x + last_step.y};
  }
  __device__ UnitRun next(const DeviceWeight& weight) const {
    if (first + kRunUnits >= end) return of_leaf(weight, leaf + kFewWarps);
    return {leaf, first + kRunUnits, end, column + kRunUnits * Unit::kTilesOfUnit * 16, column_end};
  }
  __device__ void load(Unit (&units)[kRunUnits], const DeviceWeight& weight, const unsigned char* tiles,
                       int lane) const {
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i)
      if (first + i < end) units[i].load(weight, tiles, first + i, lane);
  }
};

/// What a lane holds of a token's 16 columns, as operand b has it: c, c + 1, c + 8, c + 9. at: column c of
/// the token; left: how many columns the leaf has from there on, zeros beyond.
__device__ inline float4 load_step(const float* at, int left) {
  if (left > 9 && reinterpret_cast<std::uintptr_t>(at) % sizeof(float2) == 0) {
    const float2 low = *reinterpret_cast<const float2*>(at), high = *reinterpret_cast<const float2*>(at + 8);
    return {low.x, low.y, high.x, high.y};
  }
  return {left > 0 ? at[0] : 0.0f, left > 1 ? at[1] : 0.0f, left > 8 ? at[8] : 0.0f, left > 9 ? at[9] : 0.0f};
}

/// What a lane of few tokens' product holds of a unit's steps, in parts.
template <int kSteps>
struct SplitNumbers {
  static constexpr int kParts = kOperandParts;
  std::uint32_t low[kSteps][kParts], high[kSteps][kParts];
  __device__ SplitNumbers(const float4 (&numbers)[kSteps]) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      split_pair(numbers[s].x, numbers[s].y, low[s]);
      split_pair(numbers[s].z, numbers[s].w, high[s]);
    }
  }
  __device__ uint2 operator()(int step, int, int part) const { return {low[step][part], high[step][part]}; }
};

/// Few tokens: a block has 16 rows and 8 tokens; its warps share the leaves, whose sums meet in shared
/// memory. A warp asks for a run of units before it multiplies the run before.
template <DType kType>
__global__ void __launch_bounds__(32 * kFewWarps) linear_few_kernel(LinearArguments args) {
  using Unit = WeightUnit<kType>;
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const leaf_sums = reinterpret_cast<float*>(shared);  // [leaf][lane][4]
  const DeviceWeight& weight = args.weight;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const unsigned char* const tiles = weight.tiles + blockIdx.x * weight.row_bytes;
  // Lanes of tokens beyond the last multiply the last one's numbers, and nobody stores what they make.
  const std::int64_t own = std::int64_t{blockIdx.y} * 8 + lane / 4, last = args.out.rows - 1;
  const float* const x = args.operand.x.data + (own < last ? own : last) * args.operand.x.stride;
  const float* const block_sums = args.operand.block_sums + std::int64_t{blockIdx.y} * weight.units * 8;
  Unit units[kRunUnits], next_units[kRunUnits];
  float sums[1][4] = {};
  auto run = UnitRun<Unit>::of_leaf(weight, warp);
  run.load(units, weight, tiles, lane);
  while (run.leaf < weight.leaves) {
    const UnitRun<Unit> next = run.next(weight);
    next.load(next_units, weight, tiles, lane);
    constexpr int kSteps = Unit::kTilesOfUnit;
    float4 numbers[kRunUnits][kSteps];
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i)
#pragma unroll
      for (int s = 0; s < kSteps; ++s)
        if (run.first + i < run.end) {
          const int column = run.column + (i * kSteps + s) * 16 + lane % 4 * 2;
          numbers[i][s] = load_step(x + column, run.column_end - column);
        }
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i) {
      const int u = run.first + i;
      if (u >= run.end) break;
      units[i].multiply(sums, SplitNumbers<kSteps>(numbers[i]),
                        [&](int, int j) { return block_sums[u * 8 + tile_token(lane, j)]; });
    }
    if (next.leaf != run.leaf)
      for (int i = 0; i < 4; ++i) {
        leaf_sums[run.leaf * kLeafNumbers + lane * 4 + i] = sums[0][i];
        sums[0][i] = 0.0f;
      }
    run = next;
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i) units[i] = next_units[i];
  }
  __syncthreads();
  if (threadIdx.x >= kLeafNumbers) return;
  const int of_lane = static_cast<int>(threadIdx.x) / 4, i = static_cast<int>(threadIdx.x) % 4;
  const std::int64_t row = weight_row(weight, blockIdx.x, tile_row(of_lane, i));
  const std::int64_t token = std::int64_t{blockIdx.y} * 8 + tile_token(of_lane, i);
  for (int r = 0; r < weight.root_count; ++r) {
    float* const at = leaf_sums + weight.roots[r].x * kLeafNumbers + threadIdx.x;
    const int leaves = 1 << weight.roots[r].y;
    for (int half = 1; half < leaves; half *= 2)
      for (int leaf = 0; leaf < leaves; leaf += 2 * half)
        at[leaf * kLeafNumbers] = at[leaf * kLeafNumbers] + at[(leaf + half) * kLeafNumbers];
    if (args.gates)
      store_gated(args, row, token, i, at[0]);
    else
      store(args, r, row, token, at[0]);
  }
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

template <DType kType>
void launch_few(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  const std::size_t bytes = static_cast<std::size_t>(args.weight.leaves) * kLeafNumbers * sizeof(float);
  if (bytes > most)
    throw Error(ExitCode::kUnavailable, "device cuda: a layer of " + std::to_string(args.weight.leaves) +
                                            " leaves on one rank is more than its shared memory holds (" +
                                            std::to_string(most / 512) + "); use more ranks");
  const auto kernel = linear_few_kernel<kType>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
             "cudaFuncSetAttribute");
  const dim3 grid(blocks_for(args.weight.rows, 16), static_cast<unsigned>(args.operand.tiles));
  launch("linear_few_kernel", kernel, grid, 32 * kFewWarps, bytes, stream, args);
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
  if (args.out.rows <= kFewTokens)
    launch_few<kType>(stream, args, most);
  else if (args.operand.part_count == 1)
    launch_many<kType, 1>(stream, args, most);
  else
    launch_many<kType, kOperandParts>(stream, args, most);
}

void launch(cudaStream_t stream, const LinearArguments& args, std::size_t most) {
  for_weight_type(args.weight.dtype, [&]<DType kType>() { launch_linear<kType>(stream, args, most); });
}

}  // namespace

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

}  // namespace llm_tp

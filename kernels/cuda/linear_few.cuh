#pragma once
// Products of few tokens: what a block does, for kernels of one weight and of many.
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/weight_unit.cuh"

namespace llm_tp {

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

/// Up to kRunUnits neighbouring units of a leaf. A warp has every kFewWarps-th leaf.
template <class Unit, int kRunUnits>
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

/// The products of 16 rows of a weight and 8 tokens, leaf by leaf; the warps of a block share the leaves. A
/// warp asks for a run of units before it multiplies the run before. tiles: the tile row; x:
/// the token of lane / 4; block_sum(unit, j): of token tile_token(lane, j). leaf_sums [leaf][lane][4],
/// shared: all there for all threads afterwards.
template <DType kType, class BlockSum>
__device__ inline void multiply_few(const DeviceWeight& weight, const unsigned char* tiles, const float* x,
                                    const BlockSum& block_sum, float* leaf_sums) {
  using Unit = WeightUnit<kType>;
  constexpr int kRunUnits = 4;
  using Run = UnitRun<Unit, kRunUnits>;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  Unit units[kRunUnits], next_units[kRunUnits];
  float sums[1][4] = {};
  auto run = Run::of_leaf(weight, warp);
  run.load(units, weight, tiles, lane);
  while (run.leaf < weight.leaves) {
    const Run next = run.next(weight);
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
      units[i].multiply(sums, SplitNumbers<kSteps>(numbers[i]), [&](int, int j) { return block_sum(u, j); });
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
}

/// Adds the leaves of multiply_few() along the tree and stores the roots. tile: of 16 rows of the weight; of
/// the 8 tokens the first `count` are rows first, first + 1, ... of out.
__device__ inline void add_few(const LinearArguments& args, float* leaf_sums, std::int64_t tile,
                               std::int64_t first, int count) {
  if (threadIdx.x >= kLeafNumbers) return;
  const DeviceWeight& weight = args.weight;
  const int lane = static_cast<int>(threadIdx.x) / 4, i = static_cast<int>(threadIdx.x) % 4;
  const std::int64_t row = weight_row(weight, tile, tile_row(lane, i));
  const std::int64_t token = tile_token(lane, i) < count ? first + tile_token(lane, i) : args.out.rows;
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

/// Of a single token (linear_one.cu), where its parts fit into shared memory: the same bits.
bool fits_linear_one(const DeviceWeight& weight, std::size_t shared_bytes_at_most);
void linear_one(cudaStream_t stream, const LinearArguments& args, std::size_t shared_bytes_at_most);

}  // namespace llm_tp

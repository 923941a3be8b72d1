#pragma once
// Products of few tokens: what a block does, for kernels of one weight and of many.
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/weight_unit.cuh"

namespace llm_tp {

/// What a product of few tokens goes on with in the same launch. Kernels of their own: registers for the
/// heads would cost the others a block a multiprocessor.
enum class After { kNothing, kHeads };

struct LinearArguments {
  DeviceWeight weight;
  DeviceOperand operand;
  DeviceRows out;
  std::int64_t root_stride;
  const float* bias;
  bool gates = false;  // out is act(gate) * up; of few tokens alone
  Activation activation = Activation::kSilu;
  HeadTail tail = {};  // of After::kHeads
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

/// Up to Unit::kRunUnits neighbouring units of a leaf.
template <class Unit>
struct UnitRun {
  static constexpr int kUnits = Unit::kRunUnits;
  int leaf, first, end;  // units: the run's first, the leaf's end
  static __device__ UnitRun of_leaf(const DeviceWeight& weight, int leaf) {
    if (leaf >= weight.leaves) return {leaf, 0, 0};
    return {leaf, weight.leaf_units[leaf], weight.leaf_units[leaf + 1]};
  }
  /// The next of the warp, which has every leaf_step-th leaf.
  __device__ UnitRun next(const DeviceWeight& weight, int leaf_step) const {
    if (first + kUnits >= end) return of_leaf(weight, leaf + leaf_step);
    return {leaf, first + kUnits, end};
  }
  /// Those of a whole run are asked for without branches between them.
  __device__ void load(Unit (&units)[kUnits], const DeviceWeight& weight, const unsigned char* row,
                       int lane) const {
    if (first + kUnits <= end) {
#pragma unroll
      for (int i = 0; i < kUnits; ++i) units[i].load(weight, row, first + i, lane);
    } else {
#pragma unroll
      for (int i = 0; i < kUnits; ++i)
        if (first + i < end) units[i].load(weight, row, first + i, lane);
    }
  }
};

/// A warp's share of a product of few tokens: leaves leaf, leaf + leaf_step, ... of the tile row at `row`. It
/// asks for a run of units before it multiplies the run before. begin(): while the first units are on their
/// way; multiply(sums, unit, u): adds unit u's products; end_leaf(leaf, sums): takes a leaf's sums.
template <class Unit, int kTiles, class Begin, class Multiply, class EndLeaf>
__device__ inline void multiply_leaves(const DeviceWeight& weight, const unsigned char* row, int leaf,
                                       int leaf_step, const Begin& begin, const Multiply& multiply,
                                       const EndLeaf& end_leaf) {
  using Run = UnitRun<Unit>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Unit units[Run::kUnits], next_units[Run::kUnits];
  Run run = Run::of_leaf(weight, leaf);
  run.load(units, weight, row, lane);
  begin();
  float sums[kTiles][4] = {};
  while (run.leaf < weight.leaves) {
    const Run next = run.next(weight, leaf_step);
    next.load(next_units, weight, row, lane);
#pragma unroll
    for (int i = 0; i < Run::kUnits; ++i) {
      if (run.first + i >= run.end) break;
      multiply(sums, units[i], run.first + i);
    }
    if (next.leaf != run.leaf) {
      end_leaf(run.leaf, sums);
      for (int i = 0; i < kTiles * 4; ++i) sums[i / 4][i % 4] = 0.0f;
    }
    run = next;
#pragma unroll
    for (int i = 0; i < Run::kUnits; ++i) units[i] = next_units[i];
  }
}

/// Adds the leaves of each root along the tree and calls visit(root, sum). sums: the caller's number of leaf
/// 0, in shared memory; those of other leaves lie `stride` numbers apart.
template <class Visit>
__device__ inline void add_leaves(const DeviceWeight& weight, float* sums, int stride, const Visit& visit) {
  for (int r = 0; r < weight.root_count; ++r) {
    float* const at = sums + weight.roots[r].x * stride;
    const int leaves = 1 << weight.roots[r].y;
    for (int half = 1; half < leaves; half *= 2)
      for (int leaf = 0; leaf < leaves; leaf += 2 * half)
        at[leaf * stride] = at[leaf * stride] + at[(leaf + half) * stride];
    visit(r, at[0]);
  }
}

/// What a lane has of kTiles tiles of tokens, in parts, of a unit's steps. at: its first of the unit.
template <int kTiles>
struct LoadedOperand {
  static constexpr int kParts = kOperandParts;
  const uint2* at[kTiles];
  __device__ uint2 operator()(int step, int n, int part) const { return at[n][(step * kParts + part) * 32]; }
};

/// A block of a product of few tokens: `together` tile rows of the weight, whose warps share its leaves and
/// read the same parts of tokens at about the same time.
struct RowBlock {
  int together;
  __device__ int own() const { return static_cast<int>(threadIdx.x) / 32 % together; }
  __device__ std::int64_t tile(int of_block) const { return std::int64_t{blockIdx.x} * together + of_block; }
};

/// The products of a block's rows and kTiles tiles of tokens, leaf by leaf. tiles: the weight's; parts: of
/// every tile what the lane has of the weight's first step and part 0; block_sum(n, unit, j): of token
/// tile_token(lane, j) of tile n. leaf_sums [tile row][leaf][tile of tokens][lane][4], shared: all there for
/// all threads afterwards.
template <DType kType, int kTiles, class BlockSum>
__device__ inline void multiply_few(const DeviceWeight& weight, const unsigned char* tiles, RowBlock rows,
                                    const uint2* const (&parts)[kTiles], const BlockSum& block_sum,
                                    float* leaf_sums) {
  using Unit = WeightUnit<kType>;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t tile = rows.tile(rows.own());
  float* const own_sums = leaf_sums + rows.own() * weight.leaves * kTiles * kLeafNumbers + lane * 4;
  const auto multiply = [&](float(&sums)[kTiles][4], const Unit& unit, int u) {
    LoadedOperand<kTiles> operand;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
      operand.at[n] = parts[n] + std::int64_t{u} * (Unit::kTilesOfUnit * kOperandParts * 32);
    unit.multiply(sums, operand, [&](int n, int j) { return block_sum(n, u, j); });
  };
  const auto end_leaf = [&](int leaf, const float(&sums)[kTiles][4]) {
    for (int i = 0; i < kTiles * 4; ++i)
      own_sums[(leaf * kTiles + i / 4) * kLeafNumbers + i % 4] = sums[i / 4][i % 4];
  };
  if (tile * 16 < weight.rows)
    multiply_leaves<Unit, kTiles>(
        weight, tiles + tile * weight.row_bytes, warp / rows.together, kFewWarps / rows.together, [] {},
        multiply, end_leaf);
  __syncthreads();
}

/// Adds the leaves of multiply_few() along the tree and stores the roots. Of the 8 kTiles tokens the first
/// `count` are rows first, first + 1, ... of out.
template <int kTiles>
__device__ inline void add_few(const LinearArguments& args, RowBlock rows, float* leaf_sums,
                               std::int64_t first, int count) {
  const DeviceWeight& weight = args.weight;
  const int numbers = kTiles * kLeafNumbers;  // of a tile row
  for (int item = static_cast<int>(threadIdx.x); item < rows.together * numbers; item += 32 * kFewWarps) {
    const int of_block = item / numbers, n = item % numbers / kLeafNumbers;
    const int lane = item % kLeafNumbers / 4, i = item % 4;
    const std::int64_t row = weight_row(weight, rows.tile(of_block), tile_row(lane, i));
    const int place = n * 8 + tile_token(lane, i);
    const std::int64_t token = place < count ? first + place : args.out.rows;
    add_leaves(weight, leaf_sums + of_block * weight.leaves * numbers + item % numbers, numbers,
               [&](int root, float sum) {
                 if (args.gates)
                   store_gated(args, row, token, i, sum);
                 else
                   store(args, root, row, token, sum);
               });
  }
}

/// How a block of a product with so many rows is made, and what it has of shared memory: as many tile rows
/// together as keep all multiprocessors busy and leave room for several blocks. Errors: kUnavailable for more
/// leaves than `most` bytes hold.
struct FewShape {
  RowBlock rows;
  std::size_t shared_bytes = 0;
  unsigned blocks = 0;
};
FewShape few_shape(const DeviceWeight& weight, int token_tiles, std::size_t most);

/// Of a single token (linear_one.cu), where splits_inside() says so: the same bits.
void linear_one(cudaStream_t stream, const LinearArguments& args, std::size_t shared_bytes_at_most);

}  // namespace llm_tp

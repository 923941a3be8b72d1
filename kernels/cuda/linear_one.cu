#include "kernels/cuda/linear_few.cuh"

namespace llm_tp {
namespace {

constexpr int kStepBytes = 16 * kOperandParts * 2;  // of a token's 16 columns, in parts
constexpr int kTileRows = 16;

/// The token's parts in shared memory: [step][part][lane % 4]. Every row of a warp's mma is the one token.
struct OneToken {
  static constexpr int kParts = kOperandParts;
  const uint2* at;
  __device__ uint2 operator()(int step, int, int part) const { return at[(step * kParts + part) * 4]; }
};

/// Splits the token once a block, as operand b has it.
__device__ inline void split_token(uint2* parts, const DeviceWeight& weight, const float* x) {
  for (int i = static_cast<int>(threadIdx.x); i < weight.step_count * 4; i += 32 * kFewWarps) {
    const int2 columns = weight.steps[i / 4];
    const int first = i % 4 * 2;
    const float4 numbers = load_step(x + columns.x + first, columns.y - first);
    std::uint32_t low[kOperandParts], high[kOperandParts];
    split_pair(numbers.x, numbers.y, low);
    split_pair(numbers.z, numbers.w, high);
#pragma unroll
    for (int part = 0; part < kOperandParts; ++part)
      parts[(i / 4 * kOperandParts + part) * 4 + i % 4] = uint2{low[part], high[part]};
  }
}

/// The product of 16 rows with a single token, whose parts all warps read: where every warp split what it
/// loads, as linear_few_kernel does, they had no time left for memory. The same chains and trees, so the same
/// bits.
template <DType kType>
__global__ void __launch_bounds__(32 * kFewWarps) linear_one_kernel(LinearArguments args) {
  using Unit = WeightUnit<kType>;
  constexpr int kSteps = Unit::kTilesOfUnit;
  LLM_TP_DYNAMIC_SHARED(shared);
  const DeviceWeight& weight = args.weight;
  auto* const parts = reinterpret_cast<uint2*>(shared);
  auto* const leaf_sums = reinterpret_cast<float*>(shared + weight.step_count * kStepBytes);  // [leaf][row]
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const unsigned char* const tiles = weight.tiles + blockIdx.x * weight.row_bytes;
  Unit units[kRunUnits], next_units[kRunUnits];
  auto run = UnitRun<Unit>::of_leaf(weight, warp);
  run.load(units, weight, tiles, lane);
  split_token(parts, weight, args.operand.x.data);
  __syncthreads();
  float sums[1][4] = {};
  while (run.leaf < weight.leaves) {
    const UnitRun<Unit> next = run.next(weight);
    next.load(next_units, weight, tiles, lane);
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i) {
      const int u = run.first + i;
      if (u >= run.end) break;
      units[i].multiply(sums, OneToken{parts + u * kSteps * kOperandParts * 4 + lane % 4},
                        [&](int, int) { return args.operand.block_sums[u * 8]; });
    }
    if (next.leaf != run.leaf) {
      if (lane % 4 == 0) {
        leaf_sums[run.leaf * kTileRows + lane / 4] = sums[0][0];
        leaf_sums[run.leaf * kTileRows + lane / 4 + 8] = sums[0][2];
      }
      for (int i = 0; i < 4; ++i) sums[0][i] = 0.0f;
    }
    run = next;
#pragma unroll
    for (int i = 0; i < kRunUnits; ++i) units[i] = next_units[i];
  }
  __syncthreads();
  if (threadIdx.x >= kTileRows) return;
  const std::int64_t row = weight_row(weight, blockIdx.x, static_cast<int>(threadIdx.x));
  for (int r = 0; r < weight.root_count; ++r) {
    float* const at = leaf_sums + weight.roots[r].x * kTileRows + threadIdx.x;
    const int leaves = 1 << weight.roots[r].y;
    for (int half = 1; half < leaves; half *= 2)
      for (int leaf = 0; leaf < leaves; leaf += 2 * half)
        at[leaf * kTileRows] = at[leaf * kTileRows] + at[(leaf + half) * kTileRows];
    if (!args.gates) {
      store(args, r, row, 0, at[0]);
      continue;
    }
    float sum = at[0];
    if (args.bias != nullptr && row < weight.rows) sum = sum + args.bias[row];
    const float up = __shfl_xor_sync(0xffffu, sum, 8);
    if (threadIdx.x < 8 && row < weight.rows) args.out.data[row] = gate_times(args.activation, sum, up);
  }
}

std::size_t shared_bytes_of(const DeviceWeight& weight) {
  return static_cast<std::size_t>(weight.step_count) * kStepBytes +
         static_cast<std::size_t>(weight.leaves) * kTileRows * sizeof(float);
}

}  // namespace

bool fits_linear_one(const DeviceWeight& weight, std::size_t shared_bytes_at_most) {
  return shared_bytes_of(weight) <= shared_bytes_at_most;
}

void linear_one(cudaStream_t stream, const LinearArguments& args, std::size_t shared_bytes_at_most) {
  for_weight_type(args.weight.dtype, [&]<DType kType>() {
    const auto kernel = linear_one_kernel<kType>;
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes_at_most)),
               "cudaFuncSetAttribute");
    launch("linear_one_kernel", kernel, blocks_for(args.weight.rows, 16), 32 * kFewWarps,
           shared_bytes_of(args.weight), stream, args);
  });
}

}  // namespace llm_tp

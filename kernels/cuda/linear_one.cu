#include "kernels/cuda/linear_few.cuh"

namespace llm_tp {
namespace {

constexpr int kStepBytes = 16 * kOperandParts * 2;  // of a token's 16 columns, in parts
constexpr int kTileRows = 16;

/// What a lane reads of a unit's steps of the token, whose parts lie in shared memory as
/// [unit][lane % 4][step][part], so that those of two steps are three loads of 16 bytes. Every row of a
/// warp's mma is the one token. at: the unit's and lane's first.
template <int kSteps>
struct OneToken {
  static constexpr int kParts = kOperandParts;
  using Word = std::conditional_t<kSteps % 2 == 0, uint4, uint2>;
  static constexpr int kWords = kSteps * kParts * 8 / static_cast<int>(sizeof(Word));
  Word words[kWords];
  __device__ explicit OneToken(const uint2* at) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const Word*>(at)[i];
  }
  __device__ uint2 operator()(int step, int, int part) const {
    const int i = step * kParts + part;
    if constexpr (kSteps % 2 == 0)
      return i % 2 == 0 ? uint2{words[i / 2].x, words[i / 2].y} : uint2{words[i / 2].z, words[i / 2].w};
    else
      return words[i];
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

/// Splits the token once a block, as operand b has it.
template <int kSteps>
__device__ inline void split_token(uint2* parts, const DeviceWeight& weight, const float* x) {
  for (int i = static_cast<int>(threadIdx.x); i < weight.step_count * 4; i += 32 * kFewWarps) {
    const int step = i / 4, lane = i % 4;
    const int2 columns = weight.steps[step];
    const float4 numbers = load_step(x + columns.x + lane * 2, columns.y - lane * 2);
    std::uint32_t low[kOperandParts], high[kOperandParts];
    split_pair(numbers.x, numbers.y, low);
    split_pair(numbers.z, numbers.w, high);
    uint2* const to = parts + ((step / kSteps * 4 + lane) * kSteps + step % kSteps) * kOperandParts;
#pragma unroll
    for (int part = 0; part < kOperandParts; ++part) to[part] = uint2{low[part], high[part]};
  }
}

/// The product of 16 rows with a single token, whose parts all warps read: the same chains and trees as of
/// few tokens, so the same bits.
template <DType kType, After kAfter>
__global__ void __launch_bounds__(32 * kFewWarps)
    linear_one_kernel(const __grid_constant__ LinearArguments args) {
  using Unit = WeightUnit<kType>;
  constexpr int kSteps = Unit::kTilesOfUnit;
  LLM_TP_DYNAMIC_SHARED(shared);
  const DeviceWeight& weight = args.weight;
  auto* const parts = reinterpret_cast<uint2*>(shared);
  auto* const leaf_sums = reinterpret_cast<float*>(shared + weight.step_count * kStepBytes);  // [leaf][row]
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto multiply = [&](float(&sums)[1][4], const Unit& unit, int u) {
    unit.multiply(sums, OneToken<kSteps>(parts + (u * 4 + lane % 4) * kSteps * kOperandParts),
                  [&](int, int) { return args.operand.block_sums[u * 8]; });
  };
  const auto end_leaf = [&](int leaf, const float(&sums)[1][4]) {
    if (lane % 4 != 0) return;
    leaf_sums[leaf * kTileRows + lane / 4] = sums[0][0];
    leaf_sums[leaf * kTileRows + lane / 4 + 8] = sums[0][2];
  };
  const auto begin = [&] {
    split_token<kSteps>(parts, weight, args.operand.x.data);
    __syncthreads();
  };
  multiply_leaves<Unit, 1>(weight, weight.tiles + blockIdx.x * weight.row_bytes, warp, kFewWarps, begin,
                           multiply, end_leaf);
  __syncthreads();
  if (threadIdx.x < kTileRows) {
    const std::int64_t row = weight_row(weight, blockIdx.x, static_cast<int>(threadIdx.x));
    add_leaves(weight, leaf_sums + threadIdx.x, kTileRows, [&](int root, float sum) {
      if (!args.gates) return store(args, root, row, 0, sum);
      if (args.bias != nullptr && row < weight.rows) sum = sum + args.bias[row];
      const float up = __shfl_xor_sync(0xffffu, sum, 8);
      if (threadIdx.x < 8 && row < weight.rows) args.out.data[row] = gate_times(args.activation, sum, up);
    });
  }
  if constexpr (kAfter == After::kHeads) {
    const int first = static_cast<int>(blockIdx.x) * kTileRows;
    finish_heads(args.tail, first, first + kTileRows, kTileRows, 1, 1, reinterpret_cast<int*>(shared));
  }
}

std::size_t shared_bytes_of(const DeviceWeight& weight) {
  return static_cast<std::size_t>(weight.step_count) * kStepBytes +
         static_cast<std::size_t>(weight.leaves) * kTileRows * sizeof(float);
}

}  // namespace

bool splits_inside(const DeviceWeight& weight, std::int64_t tokens, std::size_t shared_bytes_at_most) {
  return tokens == 1 && shared_bytes_of(weight) <= shared_bytes_at_most;
}

void linear_one(cudaStream_t stream, const LinearArguments& args, std::size_t shared_bytes_at_most) {
  for_weight_type(args.weight.dtype, [&]<DType kType>() {
    const auto kernel = args.tail.counts == nullptr ? linear_one_kernel<kType, After::kNothing>
                                                    : linear_one_kernel<kType, After::kHeads>;
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes_at_most)),
               "cudaFuncSetAttribute");
    launch("linear_one_kernel", kernel, blocks_for(args.weight.rows, 16), 32 * kFewWarps,
           shared_bytes_of(args.weight), stream, args);
  });
}

}  // namespace llm_tp

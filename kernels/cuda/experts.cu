#include "kernels/cuda/linear_few.cuh"
#include "kernels/cuda/routing.h"
#include "kernels/exact_exp.h"

namespace llm_tp {
namespace {

struct ExpertArguments {
  LinearArguments linear;
  const unsigned char* const* tiles;
  std::int32_t first_expert, expert_count;
  const PairTile* pairs;
  const std::int32_t* tokens;
  RowBlock rows;
};

/// A block has some rows of an expert's weight and a tile of its pairs.
template <DType kType>
__global__ void __launch_bounds__(32 * kFewWarps, 2) multiply_experts_kernel(ExpertArguments args) {
  LLM_TP_DYNAMIC_SHARED(shared);
  auto* const leaf_sums = reinterpret_cast<float*>(shared);
  const DeviceWeight& weight = args.linear.weight;
  const DeviceOperand& operand = args.linear.operand;
  const PairTile pairs = args.pairs[blockIdx.y];
  const int expert = pairs.expert - args.first_expert, lane = static_cast<int>(threadIdx.x) % 32;
  if (pairs.count == 0 || expert < 0 || expert >= args.expert_count) return;
  // Beyond the last pair: the last one's numbers, and nobody stores what is made of them.
  const auto row_of = [&](int i) {
    const int pair = pairs.first + (i < pairs.count ? i : pairs.count - 1);
    return args.tokens != nullptr ? args.tokens[pair] : pair;
  };
  const int own = row_of(lane / 4), others[2] = {row_of(tile_token(lane, 0)), row_of(tile_token(lane, 1))};
  const uint2* const parts[1] = {operand.parts +
                                 std::int64_t{own / 8} * weight.step_count * kOperandParts * 32 +
                                 own % 8 * 4 + lane % 4};
  const auto block_sum = [&](int, int unit, int j) {
    return operand.block_sums[(std::int64_t{others[j] / 8} * weight.units + unit) * 8 + others[j] % 8];
  };
  multiply_few<kType, 1>(weight, args.tiles[expert], args.rows, parts, block_sum, leaf_sums);
  add_few<1>(args.linear, args.rows, leaf_sums, pairs.first, pairs.count);
}

constexpr int kThreads = 256;

/// One thread an element of out.
__global__ void mix_rows_kernel(DeviceRows out, DeviceRows x, DeviceRouting routing, int chosen) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.columns) return;
  const std::int32_t* const places = routing.places + std::int64_t{blockIdx.y} * chosen;
  float sum = 0.0f;
  for (int c = 0; c < chosen; ++c)
    sum = fmaf(routing.weights[places[c]], x.data[places[c] * x.stride + i], sum);
  out.data[blockIdx.y * out.stride + i] = sum;
}

/// Likewise.
__global__ void add_gated_kernel(DeviceRows out, DeviceRows x, DeviceRows gates) {
  LLM_TP_SHARED(float, weight, [1]);
  if (threadIdx.x == 0) {
    const double gate = gates.data[blockIdx.y * gates.stride];
    weight[0] = static_cast<float>(1.0 / (1.0 + exact_exp(-gate)));
  }
  __syncthreads();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.columns) return;
  float* const at = out.data + blockIdx.y * out.stride + i;
  *at = fmaf(weight[0], x.data[blockIdx.y * x.stride + i], *at);
}

dim3 grid_over(DeviceRows rows) {
  return dim3(blocks_for(rows.columns, kThreads), static_cast<unsigned>(rows.rows));
}

template <DType kType>
void launch_experts(cudaStream_t stream, ExpertArguments args, std::int64_t tiles, std::size_t most) {
  const FewShape shape = few_shape(args.linear.weight, 1, most);
  args.rows = shape.rows;
  const auto kernel = multiply_experts_kernel<kType>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
             "cudaFuncSetAttribute");
  const dim3 grid(shape.blocks, static_cast<unsigned>(tiles));
  launch("multiply_experts_kernel", kernel, grid, 32 * kFewWarps, shape.shared_bytes, stream, args);
}

}  // namespace

void multiply_experts(cudaStream_t stream, DeviceRows out, std::int64_t root_stride, DeviceOperand operand,
                      const ExpertWeights& experts, const DeviceRouting& routing, std::int64_t tiles,
                      const std::int32_t* tokens, std::optional<Activation> gate,
                      std::size_t shared_bytes_at_most) {
  const LinearArguments linear{
      experts.weight, operand, out, root_stride, nullptr, gate.has_value(), gate.value_or(Activation::kSilu)};
  const ExpertArguments args{
      linear, experts.tiles, experts.first_expert, experts.count, routing.tiles, tokens, {1}};
  for_weight_type(experts.weight.dtype,
                  [&]<DType kType>() { launch_experts<kType>(stream, args, tiles, shared_bytes_at_most); });
}

void mix_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const DeviceRouting& routing, int chosen) {
  LLM_TP_LAUNCH(mix_rows_kernel, grid_over(out), kThreads, 0, stream, out, x, routing, chosen);
}

void add_gated(cudaStream_t stream, DeviceRows out, DeviceRows x, DeviceRows gates) {
  LLM_TP_LAUNCH(add_gated_kernel, grid_over(out), kThreads, 0, stream, out, x, gates);
}

}  // namespace llm_tp

#include "kernels/cuda/unpack.h"

#include "kernels/cuda/weight_unit.cuh"

namespace llm_tp {
namespace {

constexpr int kWarps = 8;

/// One warp a unit: 16 rows of one or two steps.
template <DType kType>
__global__ void __launch_bounds__(32 * kWarps)
    unpack_kernel(Bf16Matrix out, DeviceWeight weight, std::int64_t first_tile, std::int64_t units) {
  using Unit = WeightUnit<kType>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t item = std::int64_t{blockIdx.x} * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (item >= units) return;
  const std::int64_t tile = item / weight.units, tiles = units / weight.units;
  const int u = static_cast<int>(item % weight.units);
  Unit unit;
  unit.load(weight, weight.tiles + (first_tile + tile) * weight.row_bytes, u, lane);
  const int column = u * Unit::kTilesOfUnit * 16 + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int upper = i % 2, r = lane / 4;
    const std::int64_t row = weight.gated ? (upper * tiles + tile) * 8 + r : tile * 16 + upper * 8 + r;
#pragma unroll
    for (int step = 0; step < Unit::kTilesOfUnit; ++step)
      *reinterpret_cast<std::uint32_t*>(out.data + row * out.stride + column + step * 16 + i / 2 * 8) =
          bf16_pair(unit.value(step, 2 * i), unit.value(step, 2 * i + 1));
  }
}

/// One thread two neighbours; tokens in blockIdx.y.
__global__ void round_rows_kernel(Bf16Matrix out, DeviceRows x, const int2* steps) {
  const std::int64_t pair = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (pair * 2 >= out.columns) return;
  const int2 columns = steps[pair / 8];
  const int first = static_cast<int>(pair % 8) * 2;
  const float* const from = x.data + blockIdx.y * x.stride + columns.x;
  const float low = first < columns.y ? from[first] : 0.0f;
  const float high = first + 1 < columns.y ? from[first + 1] : 0.0f;
  *reinterpret_cast<std::uint32_t*>(out.data + blockIdx.y * out.stride + pair * 2) = bf16_pair(low, high);
}

}  // namespace

void unpack_tiles(cudaStream_t stream, Bf16Matrix out, const DeviceWeight& weight, std::int64_t first_tile) {
  const std::int64_t units = out.rows / 16 * weight.units;
  for_weight_type(weight.dtype, [&]<DType kType>() {
    launch("unpack_kernel", unpack_kernel<kType>, blocks_for(units, kWarps), 32 * kWarps, 0, stream, out,
           weight, first_tile, units);
  });
}

void round_rows(cudaStream_t stream, Bf16Matrix out, DeviceRows x, const DeviceWeight& weight) {
  constexpr int kThreads = 256;
  const dim3 grid(blocks_for(out.columns / 2, kThreads), static_cast<unsigned>(x.rows));
  LLM_TP_LAUNCH(round_rows_kernel, grid, kThreads, 0, stream, out, x, weight.steps);
}

}  // namespace llm_tp

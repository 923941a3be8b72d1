#include "kernels/cuda/unpack.h"

#include "base/error.h"
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
  Unit unit;
  unit.load(weight.tiles + (first_tile * weight.units + item) * Unit::kBytes, lane);
  std::uint32_t pairs[Unit::kTilesOfUnit][4];
  unit.to_bf16(pairs);
  const std::int64_t row = item / weight.units * 16 + lane / 4;
  const std::int64_t column = item % weight.units * Unit::kTilesOfUnit * 16 + lane % 4 * 2;
#pragma unroll
  for (int step = 0; step < Unit::kTilesOfUnit; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      *reinterpret_cast<std::uint32_t*>(out.data + (row + i % 2 * 8) * out.stride + column + step * 16 +
                                        i / 2 * 8) = pairs[step][i];
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

template <DType kType>
void launch_unpack(cudaStream_t stream, Bf16Matrix out, const DeviceWeight& weight, std::int64_t first_row) {
  const std::int64_t units = (out.rows + 15) / 16 * weight.units;
  launch("unpack_kernel", unpack_kernel<kType>, blocks_for(units, kWarps), 32 * kWarps, 0, stream, out,
         weight, first_row / 16, units);
}

}  // namespace

void unpack_rows(cudaStream_t stream, Bf16Matrix out, const DeviceWeight& weight, std::int64_t first_row) {
  switch (weight.dtype) {
    case DType::kF32:
      return launch_unpack<DType::kF32>(stream, out, weight, first_row);
    case DType::kF16:
      return launch_unpack<DType::kF16>(stream, out, weight, first_row);
    case DType::kBF16:
      return launch_unpack<DType::kBF16>(stream, out, weight, first_row);
    case DType::kQ8_0:
      return launch_unpack<DType::kQ8_0>(stream, out, weight, first_row);
    case DType::kQ4_0:
      return launch_unpack<DType::kQ4_0>(stream, out, weight, first_row);
    case DType::kQ4_1:
      return launch_unpack<DType::kQ4_1>(stream, out, weight, first_row);
    default:
      throw_bug("dtype", __FILE__, __LINE__, "a packed weight of an unknown dtype");
  }
}

void round_rows(cudaStream_t stream, Bf16Matrix out, DeviceRows x, const DeviceWeight& weight) {
  constexpr int kThreads = 256;
  const dim3 grid(blocks_for(out.columns / 2, kThreads), static_cast<unsigned>(x.rows));
  LLM_TP_LAUNCH(round_rows_kernel, grid, kThreads, 0, stream, out, x, weight.steps);
}

}  // namespace llm_tp

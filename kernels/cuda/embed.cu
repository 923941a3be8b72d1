#include "kernels/cuda/weight_unit.cuh"

namespace llm_tp {
namespace {

constexpr int kWarps = 4;

/// One warp a unit; tokens in blockIdx.y. The four lanes that hold the token's row load it and write it.
template <DType kType>
__global__ void __launch_bounds__(32 * kWarps)
    embed_kernel(DeviceRows out, const std::int32_t* tokens, std::int32_t first_row, DeviceWeight table) {
  using Unit = WeightUnit<kType>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int u = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (u >= table.units) return;
  const std::int32_t row = tokens[blockIdx.y] - first_row;
  const bool present = row >= 0 && row < table.rows;
  const int upper = row % 16 / 8;
  if (lane / 4 != (present ? row % 8 : 0)) return;
  const auto write = [&](const auto& number) {
#pragma unroll
    for (int step = 0; step < Unit::kTilesOfUnit; ++step) {
      const int2 columns = table.steps[u * Unit::kTilesOfUnit + step];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (const int column = lane % 4 * 2 + i % 2 + i / 2 * 8; column < columns.y)
          out.data[blockIdx.y * out.stride + columns.x + column] = number(step, i / 2 * 4 + i % 2);
    }
  };
  if (!present) return write([](int, int) { return 0.0f; });
  Unit unit;
  unit.load(table, table.tiles + row / 16 * table.row_bytes, u, lane);
  write([&](int step, int i) { return (upper != 0 ? unit.value(step, i + 2) : unit.value(step, i)) + 0.0f; });
}

}  // namespace

void embed(cudaStream_t stream, DeviceRows out, const std::int32_t* tokens, std::int32_t first_row,
           const DeviceWeight& table) {
  const dim3 grid(blocks_for(table.units, kWarps), static_cast<unsigned>(out.rows));
  for_weight_type(table.dtype, [&]<DType kType>() {
    launch("embed_kernel", embed_kernel<kType>, grid, 32 * kWarps, 0, stream, out, tokens, first_row, table);
  });
}

}  // namespace llm_tp

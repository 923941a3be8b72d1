#include "base/error.h"
#include "kernels/cuda/bf16_parts.cuh"
#include "kernels/cuda/linear.h"

namespace llm_tp {
namespace {

constexpr int kThreads = 128;

template <class T>
__device__ inline T read_at(const unsigned char* from, std::int64_t index) {
  T value;
  memcpy(&value, from + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

/// The number at (row, column) of a packed weight whose leaves begin at multiples of 16 columns.
__device__ inline float unpacked(const DeviceWeight& w, std::int32_t row, std::int32_t column) {
  const bool blocks = w.dtype == DType::kQ8_0 || w.dtype == DType::kQ4_0 || w.dtype == DType::kQ4_1;
  const int r = row % 16, c = column % 16;
  const int lane = r % 8 * 4 + c % 8 / 2, i = r / 8 * 2 + c % 2 + c / 8 * 4;
  const int second = column / 16 % 2;  // which tile of a unit of two
  const std::int64_t unit = std::int64_t{row / 16} * w.units + column / (blocks ? 32 : 16);
  switch (w.dtype) {
    case DType::kF32:
      return read_at<float>(w.tiles + unit * 1024, i / 4 * 128 + lane * 4 + i % 4);
    case DType::kBF16:
      return bf16_value(read_at<unsigned short>(w.tiles + unit * 512, lane * 8 + i));
    case DType::kF16:
      return half_value(read_at<unsigned short>(w.tiles + unit * 512, lane * 8 + i));
    case DType::kQ8_0: {
      const unsigned char* const at = w.tiles + unit * 544;
      const auto number = static_cast<float>(read_at<signed char>(at, lane * 16 + second * 8 + i));
      return half_value(read_at<unsigned short>(at + 512, r)) * number;
    }
    default: {
      const bool minima = w.dtype == DType::kQ4_1;
      const unsigned char* const at = w.tiles + unit * (minima ? 320 : 288);
      const int number = at[lane * 8 + i] >> second * 4 & 15;
      const float scale = half_value(read_at<unsigned short>(at + 256, r));
      if (!minima) return scale * static_cast<float>(number - 8);
      return scale * static_cast<float>(number) + half_value(read_at<unsigned short>(at + 288, r));
    }
  }
}

/// One thread an element; tokens in blockIdx.y.
__global__ void embed_kernel(DeviceRows out, const std::int32_t* tokens, std::int32_t first_row,
                             DeviceWeight table) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= out.columns) return;
  const std::int32_t row = tokens[blockIdx.y] - first_row;
  const bool present = row >= 0 && row < table.rows;
  out.data[blockIdx.y * out.stride + i] =
      present ? unpacked(table, row, static_cast<std::int32_t>(i)) + 0.0f : 0.0f;
}

}  // namespace

void embed(cudaStream_t stream, DeviceRows out, const std::int32_t* tokens, std::int32_t first_row,
           const DeviceWeight& table) {
  const dim3 grid(blocks_for(out.columns, kThreads), static_cast<unsigned>(out.rows));
  LLM_TP_LAUNCH(embed_kernel, grid, kThreads, 0, stream, out, tokens, first_row, table);
}

}  // namespace llm_tp

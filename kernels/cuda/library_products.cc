#include "kernels/cuda/library_products.h"

#include <algorithm>
#include <utility>

namespace llm_tp {
namespace {

std::int64_t row_numbers_of(const DeviceWeight& weight) { return std::int64_t{weight.step_count} * 16; }

}  // namespace

LibraryProducts::LibraryProducts(cudaStream_t stream, std::unique_ptr<Bf16Gemm> gemm,
                                 std::int64_t piece_bytes)
    : stream_(stream),
      gemm_(std::move(gemm)),
      piece_bytes_(piece_bytes),
      operand_(stream, "the operand of a library's products"),
      piece_(stream, "unpacked weights of a library's products") {}

/// Whole tiles, at least one; no more than the weight has.
std::int64_t LibraryProducts::piece_rows(std::int64_t row_numbers, std::int64_t rows) const {
  const std::int64_t fit = piece_bytes_ / (row_numbers * 2) / 16 * 16;
  return std::min(std::max<std::int64_t>(fit, 16), (rows + 15) / 16 * 16);
}

void LibraryProducts::reserve(std::span<const DeviceWeight> weights, std::int64_t tokens) {
  for (const DeviceWeight& weight : weights) {
    const std::int64_t numbers = row_numbers_of(weight);
    if (numbers == 0) continue;
    operand_.reserve(static_cast<std::size_t>(tokens * numbers * 2));
    piece_.reserve(static_cast<std::size_t>(piece_rows(numbers, weight.rows) * numbers * 2));
  }
}

void LibraryProducts::linear(DeviceRows out, std::int64_t root_stride, DeviceRows x,
                             const CudaPackedWeight& w, const float* bias) {
  const DeviceWeight& weight = w.device();
  reserve({&weight, 1}, x.rows);
  const std::int64_t numbers = row_numbers_of(weight), together = piece_rows(numbers, weight.rows);
  const Bf16Matrix operand{reinterpret_cast<std::uint16_t*>(operand_.data()), numbers, x.rows, numbers};
  round_rows(stream_, operand, x, weight);
  for (std::int64_t first = 0; first < weight.rows; first += together) {
    const Bf16Matrix piece{reinterpret_cast<std::uint16_t*>(piece_.data()), numbers,
                           std::min<std::int64_t>(together, weight.rows - first), numbers};
    unpack_rows(stream_, piece, weight, first);
    for (std::size_t r = 0; r < w.roots().size(); ++r) {
      const Range columns = w.padded_columns_of_root(r);
      DeviceRows part = out;
      part.data += static_cast<std::int64_t>(r) * root_stride + first;
      part.columns = piece.rows;
      gemm_->multiply(part, operand.column_range(columns), piece.column_range(columns),
                      bias == nullptr ? nullptr : bias + first);
    }
  }
}

}  // namespace llm_tp

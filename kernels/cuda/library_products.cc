#include "kernels/cuda/library_products.h"

#include <algorithm>
#include <utility>

namespace llm_tp {
namespace {

std::int64_t row_numbers_of(const DeviceWeight& weight) { return std::int64_t{weight.step_count} * 16; }

std::int64_t tile_rows_of(const DeviceWeight& weight) {
  return weight.gated ? (weight.rows / 2 + 7) / 8 : (std::int64_t{weight.rows} + 15) / 16;
}

}  // namespace

LibraryProducts::LibraryProducts(cudaStream_t stream, std::unique_ptr<Bf16Gemm> gemm,
                                 std::int64_t piece_bytes)
    : stream_(stream),
      gemm_(std::move(gemm)),
      piece_bytes_(piece_bytes),
      operand_(stream, "the operand of a library's products"),
      piece_(stream, "unpacked weights of a library's products") {}

/// At least one; no more than the weight has.
std::int64_t LibraryProducts::piece_tiles(const DeviceWeight& weight) const {
  const std::int64_t fit = piece_bytes_ / (row_numbers_of(weight) * 2 * 16);
  return std::min<std::int64_t>(std::max<std::int64_t>(fit, 1), tile_rows_of(weight));
}

LibraryProducts::Sizes LibraryProducts::sizes_for(std::span<const DeviceWeight> weights,
                                                  std::int64_t tokens) const {
  Sizes sizes;
  for (const DeviceWeight& weight : weights) {
    const std::int64_t numbers = row_numbers_of(weight);
    if (numbers == 0) continue;
    sizes.operand = std::max(sizes.operand, tokens * numbers * 2);
    sizes.piece = std::max(sizes.piece, piece_tiles(weight) * 16 * numbers * 2);
  }
  return sizes;
}

void LibraryProducts::reserve(const Sizes& sizes) {
  operand_.reserve(static_cast<std::size_t>(sizes.operand));
  piece_.reserve(static_cast<std::size_t>(sizes.piece));
}

void LibraryProducts::linear(DeviceRows out, std::int64_t root_stride, DeviceRows x,
                             const CudaPackedWeight& w, const float* bias) {
  const DeviceWeight& weight = w.device();
  reserve(sizes_for({&weight, 1}, x.rows));
  const std::int64_t numbers = row_numbers_of(weight), together = piece_tiles(weight);
  const Bf16Matrix operand{reinterpret_cast<std::uint16_t*>(operand_.data()), numbers, x.rows, numbers};
  round_rows(stream_, operand, x, weight);
  // A tile row has 16 neighbours of the weight, or eight gates and the eight rows that they are for.
  const std::int64_t halves = weight.gated ? 2 : 1, run = 16 / halves, half = weight.rows / halves;
  for (std::int64_t tile = 0; tile < tile_rows_of(weight); tile += together) {
    const std::int64_t tiles = std::min(together, tile_rows_of(weight) - tile);
    const Bf16Matrix piece{reinterpret_cast<std::uint16_t*>(piece_.data()), numbers, tiles * 16, numbers};
    unpack_tiles(stream_, piece, weight, tile);
    const std::int64_t first = tile * run, rows = std::min(tiles * run, half - first);
    for (std::int64_t h = 0; h < halves; ++h) {
      const Bf16Matrix part{piece.data + h * tiles * run * numbers, numbers, rows, numbers};
      const std::int64_t column = h * half + first;
      for (std::size_t r = 0; r < w.roots().size(); ++r) {
        const Range columns = w.padded_columns_of_root(r);
        const DeviceRows to{out.data + static_cast<std::int64_t>(r) * root_stride + column, out.stride,
                            out.rows, rows};
        gemm_->multiply(to, operand.column_range(columns), part.column_range(columns),
                        bias == nullptr ? nullptr : bias + column);
      }
    }
  }
}

}  // namespace llm_tp

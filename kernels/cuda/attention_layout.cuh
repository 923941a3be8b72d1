#pragma once
// What a block of attention keeps in shared memory, and how its four warps divide the work.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {

/// What the warps of a block divide: its rows of queries, 16 a warp, or, where a block has 16 in all, the
/// keys of a tile and then the columns of the sums. Each number is computed by the same operations either
/// way.
enum class Divided { kRows, kKeys };

constexpr int kAttentionWarps = 4, kAttentionThreads = 32 * kAttentionWarps;

/// bf16 numbers, of an f16 cache f16 numbers, whose sum a key or value is. Codes are parts without their
/// scale.
constexpr int kv_parts_of(DType dtype) { return dtype == DType::kF32 ? 3 : 1; }
/// And those of a query or of a weight: 24 bits where the cache has f32, 22 for f16, else 16.
constexpr int query_parts_of(DType dtype) { return dtype == DType::kF32 ? 3 : 2; }
/// Keys of a tile: as many as leave room for two blocks of heads of 128 on a multiprocessor, and for one of
/// heads of 256 in the 99 KiB of small chips.
constexpr int tile_keys_of(int dim, DType dtype) {
  const int numbers = dim * kv_parts_of(dtype);
  return numbers <= 128 ? 64 : numbers <= 512 ? 32 : 16;
}

template <int kDim, DType kType, Divided kDivided>
struct AttentionLayout {
  static constexpr bool kDividesRows = kDivided == Divided::kRows;
  /// Operands are f16. Queries then have a power of two a row, so that the largest lies far inside f16's
  /// range.
  static constexpr bool kF16 = kType == DType::kF16;
  static constexpr bool kHasScales = kType == DType::kInt8 || kType == DType::kE4M3;
  static constexpr int kQueryParts = query_parts_of(kType), kKvParts = kv_parts_of(kType);
  static constexpr int kTileKeys = tile_keys_of(kDim, kType);
  /// Elements from one row of 16-bit numbers to the next: 16 bytes more than the row, so that the eight rows
  /// of an ldmatrix lie in different banks.
  static constexpr int kRow = kDim + 8;
  static constexpr int kGroups = kTileKeys / 16;  // of the keys of a tile, as the tensor cores take them
  static constexpr int kPairs = kDim / 16;        // of the columns of the sums
  static constexpr int kOwnGroups = kDividesRows ? kGroups : 1;
  static constexpr int kOwnPairs = kDividesRows ? kPairs : (kPairs + kAttentionWarps - 1) / kAttentionWarps;

  static constexpr int kBlocksAtLeast = !kDividesRows ? (kDim <= 128 ? 4 : 3)
                                        : kDim <= 128 ? 2
                                                      : 1;  // at a time

  // In bytes: a tile of keys, one of values, their scales; then what the warps tell each other where they
  // divide keys; what scores of a row are multiplied by; then the queries, [part][row][kRow].
  static constexpr int kTileBytes = kKvParts * kTileKeys * kRow * 2;
  static constexpr int kScales = 2 * kTileBytes;
  static constexpr int kWeights =
      kScales + (kHasScales ? 2 * kTileKeys * 4 : 0);  // [group][part][lane] operand a
  static constexpr int kWeightSums = kWeights + (kDividesRows ? 0 : kGroups * kQueryParts * 32 * 16);
  static constexpr int kLargest = kWeightSums + (kDividesRows ? 0 : kGroups * 32 * 8);  // [group][row]
  static constexpr int kFactors = kLargest + (kDividesRows ? 0 : kGroups * 16 * 4);     // [64]
  static constexpr int kQueries = kFactors + (kF16 ? 64 * 4 : 0);
  static constexpr int bytes(int block_rows) { return kQueries + kQueryParts * block_rows * kRow * 2; }
};

}  // namespace llm_tp

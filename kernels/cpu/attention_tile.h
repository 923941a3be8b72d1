#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/tensor.h"

namespace llm_tp {

/// One query of one head.
struct AttentionRow {
  const float* q;  // [head_dim]
  float* out;      // [head_dim]
  Range seen;      // positions whose keys it sees, never empty
};

/// Queries that read the same KV head of the same sequence, in order of position.
struct AttentionTile {
  std::span<const AttentionRow> rows;
  std::span<const std::byte*const> keys, values;  // of the pages that they see (CpuKvCache::keys, values)
  std::int64_t first_page;                        // of the sequence, at keys[0] and values[0]
  std::span<float> scratch;                       // attention_scratch() floats
  std::int64_t head_dim, padded_head_dim;
  std::int64_t page_tokens;
  float scale;
  float soft_cap;  // 0: none
};

constexpr int kBlockKeys = 64;  // positions 64 b .. 64 b + 63 are one block of the online softmax

/// Floats of scratch: a row's scores or weights of a block [64], its accumulator [padded], its partial sums
/// [16], maximum.
constexpr std::size_t attention_scratch(std::size_t rows, std::int64_t padded_head_dim) {
  return rows * (kBlockKeys + static_cast<std::size_t>(padded_head_dim) + 16 + 1);
}

}  // namespace llm_tp

// The attention kernel, once per SIMD target; see kernels/cpu/attention.h for the arithmetic.
#if defined(LLM_TP_KERNELS_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLM_TP_KERNELS_CPU_ATTENTION_INL_H_
#undef LLM_TP_KERNELS_CPU_ATTENTION_INL_H_
#else
#define LLM_TP_KERNELS_CPU_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/lanes16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llm_tp::HWY_NAMESPACE {

constexpr int kBlockGroups = kBlockKeys / kLanes;
constexpr int kSharedRows = 4;  // rows that share one load of a key or value

/// Independent chains of 16 lanes that `rows` rows should run side by side, a power of two: enough to hide
/// the latency of fma, few enough to stay in registers. It decides speed alone.
constexpr int chains_for(int rows) {
  int chains = 4;
  while (chains > 1 && rows * chains * kParts > (kParts == 1 ? 16 : 12)) chains /= 2;
  return chains;
}

/// Whether keys and values are codes that have a scale a vector.
template <class Stored>
inline constexpr bool kHasScales = sizeof(Stored) == 1;

/// Of each group of 16 positions; null before the first page and past the last.
template <class Stored>
struct KeyBlock {
  std::array<const Stored*, kBlockGroups> keys{}, values{};
  std::array<const float*, kBlockGroups> key_scales{}, value_scales{};  // [16], where there are any
};

/// scores[r][g * 16 + lane] = scale * (q[r] . k) for Groups groups of 16 keys.
template <int Rows, int Groups, class Stored>
HWY_INLINE void score_groups(const float* const* q, const Stored* const* keys, const float* const* key_scales,
                             std::int64_t head_dim, float scale, float* const* scores) {
  Lanes16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) sum[r][g] = broadcast(0.0f);
  for (std::int64_t d = 0; d < head_dim; ++d) {
    Lanes16 key[Groups];
    for (int g = 0; g < Groups; ++g) key[g] = load16(keys[g] + d * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Lanes16 query = broadcast(q[r][d]);
      for (int g = 0; g < Groups; ++g) sum[r][g] = fused(query, key[g], sum[r][g]);
    }
  }
  if constexpr (kHasScales<Stored>) {
    for (int g = 0; g < Groups; ++g) {
      const Lanes16 key_scale = load16(key_scales[g]);
      for (int r = 0; r < Rows; ++r) sum[r][g] = multiply(sum[r][g], key_scale);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) store16(multiply(sum[r][g], broadcast(scale)), scores[r] + g * kLanes);
}

/// Scores of the groups [begin, end) of a block.
template <int Rows, class Stored>
HWY_INLINE void score_block(const float* const* q, const KeyBlock<Stored>& block, int begin, int end,
                            std::int64_t head_dim, float scale, float* const* scores) {
  constexpr int kGroups = chains_for(Rows);
  float* at[Rows];
  int g = begin;
  for (; g + kGroups <= end; g += kGroups) {
    for (int r = 0; r < Rows; ++r) at[r] = scores[r] + g * kLanes;
    score_groups<Rows, kGroups>(q, block.keys.data() + g, block.key_scales.data() + g, head_dim, scale, at);
  }
  for (; g < end; ++g) {
    for (int r = 0; r < Rows; ++r) at[r] = scores[r] + g * kLanes;
    score_groups<Rows, 1>(q, block.keys.data() + g, block.key_scales.data() + g, head_dim, scale, at);
  }
}

/// acc[r][0 : 16 * Columns] += weights[r][j] * v[j] for j in [begin, end), one fma a key in order.
template <int Rows, int Columns, class Stored>
HWY_INLINE void add_columns(const float* const* weights, const Stored* const* values,
                            std::int64_t value_stride, int begin, int end, float* const* acc) {
  Lanes16 sum[Rows][Columns];
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c) sum[r][c] = load16(acc[r] + c * kLanes);
  for (int j = begin; j < end; ++j) {
    const Stored* row = values[j / kLanes] + (j % kLanes) * value_stride;
    Lanes16 value[Columns];
    for (int c = 0; c < Columns; ++c) value[c] = load16(row + c * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Lanes16 weight = broadcast(weights[r][j]);
      for (int c = 0; c < Columns; ++c) sum[r][c] = fused(weight, value[c], sum[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c) store16(sum[r][c], acc[r] + c * kLanes);
}

template <int Rows, class Stored>
HWY_INLINE void add_values(const float* const* weights, const KeyBlock<Stored>& block, std::int64_t padded,
                           int begin, int end, float* const* acc) {
  if (begin >= end) return;
  constexpr int kColumns = chains_for(Rows);
  const Stored* values[kBlockGroups];
  float* at[Rows];
  std::int64_t d = 0;
  const auto move_to = [&] {
    for (int g = 0; g < kBlockGroups; ++g)
      values[g] = block.values[static_cast<std::size_t>(g)] == nullptr
                      ? nullptr
                      : block.values[static_cast<std::size_t>(g)] + d;
    for (int r = 0; r < Rows; ++r) at[r] = acc[r] + d;
  };
  for (; d + kColumns * kLanes <= padded; d += kColumns * kLanes) {
    move_to();
    add_columns<Rows, kColumns>(weights, values, padded, begin, end, at);
  }
  for (; d < padded; d += kLanes) {
    move_to();
    add_columns<Rows, 1>(weights, values, padded, begin, end, at);
  }
}

/// The state of one row between blocks.
struct SoftmaxRow {
  float* scores;  // [64], then the weights of the block
  float* acc;     // [padded head_dim]
  float* sums;    // [16] partial sums of the weights
  float* maximum;
};

/// Scores of the groups [begin, end) of a block; what lies before or after may be anything.
HWY_INLINE void cap_scores(float* scores, int begin, int end, float cap) {
  for (int g = begin; g < end; ++g)
    store16(soft_capped(load16(scores + g * kLanes), cap), scores + g * kLanes);
}

/// Turns the scores of keys [begin, end) of a block into weights, zeros elsewhere, and brings sums and acc to
/// the new maximum.
HWY_INLINE void softmax_block(const SoftmaxRow& row, int begin, int end, std::int64_t padded) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  // What was computed for keys that this row does not see, or never written, must not count.
  for (int j = 0; j < begin; ++j) row.scores[j] = kLowest;
  for (int j = end; j < kBlockKeys; ++j) row.scores[j] = kLowest;
  Lanes16 largest = load16(row.scores);
  for (int g = 1; g < kBlockGroups; ++g) largest = maximum(largest, load16(row.scores + g * kLanes));
  const float before = *row.maximum;
  const float block_maximum = largest_lane(largest);
  const float now = before < block_maximum ? block_maximum : before;
  // Most blocks bring no new maximum; e^0 is exactly 1.
  const float correction = before == now ? 1.0f : hn::GetLane(exp_of(hn::Set(FloatTag(), before - now)));
  *row.maximum = now;
  const Lanes16 shift = broadcast(now);
  Lanes16 sums = multiply(load16(row.sums), broadcast(correction));
  for (int g = 0; g < kBlockGroups; ++g) {
    const Lanes16 weight = exponential(subtract(load16(row.scores + g * kLanes), shift));
    sums = add(sums, weight);
    store16(weight, row.scores + g * kLanes);
  }
  store16(sums, row.sums);
  // A factor of 1 changes no bit.
  if (correction == 1.0f) return;
  const Lanes16 factor = broadcast(correction);
  for (std::int64_t d = 0; d < padded; d += kLanes)
    store16(multiply(load16(row.acc + d), factor), row.acc + d);
}

/// Weights of the groups [begin, end) become those of the codes of their values; what belongs to a key that
/// the row does not see may become anything.
template <class Stored>
HWY_INLINE void weigh_codes(float* weights, const KeyBlock<Stored>& block, int begin, int end) {
  for (int g = begin; g < end; ++g)
    store16(multiply(load16(weights + g * kLanes), load16(block.value_scales[static_cast<std::size_t>(g)])),
            weights + g * kLanes);
}

struct Seen {
  int begin, end;  // keys of the block; none where begin >= end
};

/// What Rows neighbouring rows see of the block at block_begin.
template <int Rows>
struct RowsSeen {
  Seen row[Rows];
  Seen any{kBlockKeys, 0};  // by at least one row
  Seen all{0, kBlockKeys};  // by every row; empty at kBlockKeys where there are none

  RowsSeen(const AttentionRow* rows, std::int64_t block_begin) {
    for (int r = 0; r < Rows; ++r) {
      row[r] = {static_cast<int>(std::clamp<std::int64_t>(rows[r].seen.begin - block_begin, 0, kBlockKeys)),
                static_cast<int>(std::clamp<std::int64_t>(rows[r].seen.end - block_begin, 0, kBlockKeys))};
      all = {std::max(all.begin, row[r].begin), std::min(all.end, row[r].end)};
      if (row[r].begin < row[r].end) any = {std::min(any.begin, row[r].begin), std::max(any.end, row[r].end)};
    }
    if (all.begin >= all.end) all = {kBlockKeys, kBlockKeys};
  }
};

/// The weights of one block of keys for Rows neighbouring rows of the tile.
template <int Rows, class Stored>
HWY_INLINE void weigh_block(const AttentionTile& tile, const AttentionRow* rows, const SoftmaxRow* state,
                            const KeyBlock<Stored>& block, std::int64_t block_begin) {
  const RowsSeen<Rows> seen(rows, block_begin);
  if (seen.any.begin >= seen.any.end) return;
  const float* q[Rows];
  float* scores[Rows];
  for (int r = 0; r < Rows; ++r) {
    q[r] = rows[r].q;
    scores[r] = state[r].scores;
  }
  const int first = seen.any.begin / kLanes, last = (seen.any.end + kLanes - 1) / kLanes;
  score_block<Rows>(q, block, first, last, tile.head_dim, tile.scale, scores);
  if (tile.soft_cap > 0)
    for (int r = 0; r < Rows; ++r) cap_scores(scores[r], first, last, tile.soft_cap);
  for (int r = 0; r < Rows; ++r) {
    if (seen.row[r].begin >= seen.row[r].end) continue;
    softmax_block(state[r], seen.row[r].begin, seen.row[r].end, tile.padded_head_dim);
    if constexpr (kHasScales<Stored>) weigh_codes(scores[r], block, first, last);
  }
}

/// Adds the weighted values of one block. A key is multiplied only for the rows that see it: its memory may
/// hold anything, and even +0 can change a bit.
template <int Rows, class Stored>
HWY_INLINE void sum_block(const AttentionTile& tile, const AttentionRow* rows, const SoftmaxRow* state,
                          const KeyBlock<Stored>& block, std::int64_t block_begin) {
  const RowsSeen<Rows> seen(rows, block_begin);
  if (seen.any.begin >= seen.any.end) return;
  const std::int64_t padded = tile.padded_head_dim;
  const float* weights[Rows];
  float* acc[Rows];
  for (int r = 0; r < Rows; ++r) {
    weights[r] = state[r].scores;
    acc[r] = state[r].acc;
  }
  for (int r = 0; r < Rows; ++r)
    add_values<1>(weights + r, block, padded, seen.row[r].begin, std::min(seen.row[r].end, seen.all.begin),
                  acc + r);
  if (seen.all.begin == kBlockKeys) return;
  add_values<Rows>(weights, block, padded, seen.all.begin, seen.all.end, acc);
  for (int r = 0; r < Rows; ++r)
    add_values<1>(weights + r, block, padded, seen.all.end, seen.row[r].end, acc + r);
}

template <class Stored>
KeyBlock<Stored> block_at(const AttentionTile& tile, std::int64_t begin, std::int64_t end) {
  KeyBlock<Stored> block;
  for (int g = 0; g < kBlockGroups && begin + g * kLanes < end; ++g) {
    const std::int64_t position = begin + g * kLanes;
    if (position / tile.page_tokens < tile.first_page) continue;
    const auto page = static_cast<std::size_t>(position / tile.page_tokens - tile.first_page);
    const std::int64_t token = position % tile.page_tokens;
    const auto group = static_cast<std::size_t>(g);
    block.keys[group] = reinterpret_cast<const Stored*>(tile.keys[page]) + token * tile.head_dim;
    block.values[group] = reinterpret_cast<const Stored*>(tile.values[page]) + token * tile.padded_head_dim;
    if constexpr (kHasScales<Stored>) {
      const auto scales = [&](const std::byte* codes, std::int64_t width) {
        return reinterpret_cast<const float*>(codes + tile.page_tokens * width) + token;
      };
      block.key_scales[group] = scales(tile.keys[page], tile.head_dim);
      block.value_scales[group] = scales(tile.values[page], tile.padded_head_dim);
    }
  }
  return block;
}

HWY_INLINE void finish_row(const AttentionRow& row, const SoftmaxRow& state, std::int64_t head_dim) {
  const Lanes16 total = broadcast(fold_sum(load16(state.sums)));
  const std::int64_t whole = head_dim / kLanes * kLanes;
  for (std::int64_t d = 0; d < whole; d += kLanes) store16(divide(load16(state.acc + d), total), row.out + d);
  if (whole < head_dim)
    store_some(divide(load16(state.acc + whole), total), row.out + whole, head_dim - whole);
}

template <class Stored>
HWY_INLINE void attend_tile(const AttentionTile& tile) {
  const std::size_t rows = tile.rows.size();
  const std::int64_t padded = tile.padded_head_dim;
  const std::int64_t row_floats = kBlockKeys + padded + kLanes;
  float* const maxima = tile.scratch.data() + static_cast<std::int64_t>(rows) * row_floats;
  std::fill(tile.scratch.begin(), tile.scratch.end(), 0.0f);
  std::fill(maxima, maxima + rows, -std::numeric_limits<float>::infinity());
  const auto state_of = [&](std::size_t r) {
    float* at = tile.scratch.data() + static_cast<std::int64_t>(r) * row_floats;
    return SoftmaxRow{at, at + kBlockKeys, at + kBlockKeys + padded, maxima + r};
  };

  // Rows lie in order of position: the first sees the earliest key, the last the latest.
  const std::int64_t begin = tile.rows.front().seen.begin / kBlockKeys * kBlockKeys;
  const std::int64_t end = tile.rows.back().seen.end;
  for (std::int64_t at = begin; at < end; at += kBlockKeys) {
    const KeyBlock<Stored> block = block_at<Stored>(tile, at, end);
    // Keys first for all rows, then values: one of the two fits the innermost cache, both may not.
    for (const bool weigh : {true, false}) {
      for (std::size_t first = 0; first < rows; first += kSharedRows) {
        SoftmaxRow state[kSharedRows];
        const std::size_t count = std::min<std::size_t>(kSharedRows, rows - first);
        for (std::size_t r = 0; r < count; ++r) state[r] = state_of(first + r);
        const AttentionRow* const some = &tile.rows[first];
        const auto walk = [&]<int Rows>(std::integral_constant<int, Rows>) {
          if (weigh) weigh_block<Rows>(tile, some, state, block, at);
          if (!weigh) sum_block<Rows>(tile, some, state, block, at);
        };
        if (count == 4) walk(std::integral_constant<int, 4>());
        if (count == 3) walk(std::integral_constant<int, 3>());
        if (count == 2) walk(std::integral_constant<int, 2>());
        if (count == 1) walk(std::integral_constant<int, 1>());
      }
    }
  }
  for (std::size_t r = 0; r < rows; ++r) finish_row(tile.rows[r], state_of(r), tile.head_dim);
}

}  // namespace llm_tp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

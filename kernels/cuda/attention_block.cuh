#pragma once
// One block of attention: the rows of an item, which are up to 64 queries of one KV head.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/key_tiles.cuh"

namespace llm_tp {

/// One thread's part of it. kType: of the cache.
template <int kDim, DType kType, Divided kDivided>
class AttentionBlock {
  using Layout = AttentionLayout<kDim, kType, kDivided>;

 public:
  __device__ AttentionBlock(const AttentionArguments& args, int block_rows, unsigned char* shared)
      : args_(args),
        item_(args.items[blockIdx.x]),
        head_(static_cast<int>(blockIdx.y)),
        heads_(query_heads_of(args.heads, head_)),
        block_rows_(block_rows),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        first_row_(kDividesRows ? 16 * warp_ : 0),
        last_query_(min_of(item_.first_query + block_rows, item_.rows * heads_.count) - 1),
        shared_(shared),
        tiles_(args_, item_, head_, shared) {}

  __device__ bool has_work() const { return exists(item_.first_query); }

  __device__ void run() {
    const bool partial = item_.partial >= 0;
    const int chunk = item_.first_chunk * kChunkKeys;
    // Positions that any row of this block sees.
    int first = args_.window > 0 ? max_of(0, position_of(item_.first_query) + 1 - args_.window) : 0;
    int last = position_of(last_query_);
    if (partial) first = max_of(first, chunk), last = min_of(last, chunk + kChunkKeys - 1);
    int tile = first / kTileKeys * kTileKeys;
    tiles_.find(tile);
    tiles_.start_keys();
    tiles_.find(tile + kTileKeys);
    load_queries();
    for (int i = 0; i < 2; ++i) positions_[i] = position_of(query_of(i));
    first_position_ = position_of(item_.first_query + first_row_);
    last_position_ = position_of(min_of(item_.first_query + first_row_ + 15, last_query_));
    chunk_.clear();
    all_.clear();
    for (; tile <= last; tile += kTileKeys) {
      const bool another = tile + kTileKeys <= last;
      walk_tile(tile, another);
      if (another && (tile + kTileKeys) % kChunkKeys != 0) continue;
      if (partial) return store_partial();
      merge_chunk();
    }
    store();
  }

 private:
  static constexpr bool kDividesRows = kDivided == Divided::kRows;
  static constexpr bool kHasScales = Layout::kHasScales;
  static constexpr int kTileKeys = Layout::kTileKeys, kGroups = Layout::kGroups;
  static constexpr int kOwnGroups = Layout::kOwnGroups, kOwnPairs = Layout::kOwnPairs;
  // Two by two, so that few products wait for the one before.
  static constexpr int kGroupsAtOnce = kOwnGroups < 2 ? 1 : 2, kPairsAtOnce = kOwnPairs < 2 ? 1 : 2;
  static constexpr int kQueryParts = Layout::kQueryParts, kKvParts = Layout::kKvParts;
  static constexpr int kRow = Layout::kRow;
  static constexpr float kAbove = Layout::kF16 ? 15.0f : 0.0f;
  static constexpr int kPairsOfLane = (kDim + 63) / 64;  // of a query, neighbours
  static_assert(kOwnPairs == 1 || kDividesRows || Layout::kPairs % kAttentionWarps == 0);

  /// Of the lane's two rows, eight apart: states, and sums of values of a pair of eight columns each.
  struct Sums {
    Softmax state[2];
    float of[kOwnPairs][2][4];
    __device__ void clear() {
      for (int i = 0; i < 2; ++i) state[i] = {kNone, 0.0f};
      for (int p = 0; p < kOwnPairs; ++p)
        for (int half = 0; half < 2; ++half)
          for (int i = 0; i < 4; ++i) of[p][half][i] = 0.0f;
    }
  };
  /// Of the tile's keys in this warp's groups: scores, then weights.
  using Scores = float[kOwnGroups][2][4];
  /// Those weights in parts, each group as operand a of the tensor cores.
  using Weights = std::uint32_t[kOwnGroups][kQueryParts][4];

  static __device__ int min_of(int a, int b) { return a < b ? a : b; }
  static __device__ int max_of(int a, int b) { return a > b ? a : b; }

  /// Packed row of the slice of this lane's row i.
  __device__ int query_of(int i) const { return item_.first_query + first_row_ + lane_ / 4 + 8 * i; }
  __device__ bool exists(int query) const { return query <= last_query_; }
  __device__ int position_of(int query) const { return item_.first_position + query / heads_.count; }
  /// Of a matrix of queries or of outputs: where a query's head begins.
  __device__ std::int64_t head_of(int query, std::int64_t stride) const {
    return (item_.first_row + query / heads_.count) * stride +
           (heads_.first + query % heads_.count) * args_.cache.head_dim;
  }
  __device__ int group_of(int own) const { return kDividesRows ? own : warp_; }
  __device__ int pair_of(int own) const { return kDividesRows ? own : warp_ + kAttentionWarps * own; }
  __device__ int key_of(int own_group, int half) const {
    return group_of(own_group) * 16 + half * 8 + lane_ % 4 * 2;
  }

  template <class T>
  __device__ T* shared(int offset) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  __device__ unsigned short* queries() const { return shared<unsigned short>(Layout::kQueries); }
  /// Keys or values, [part][key][kRow].
  __device__ unsigned short* tile_of(int values) const {
    return shared<unsigned short>(values * Layout::kTileBytes);
  }
  __device__ const float* scales_of(int values) const {
    return shared<float>(Layout::kScales) + values * kTileKeys;
  }

  /// Rows of the block in parts, zeros beyond the rows that exist and beyond head_dim.
  __device__ void load_queries() {
    const int dim = args_.cache.head_dim;
    for (int r = warp_; r < block_rows_; r += kAttentionWarps) {
      const int query = item_.first_query + r;
      const float* const from = exists(query) ? args_.q.data + head_of(query, args_.q.stride) : nullptr;
      float numbers[kPairsOfLane][2];
#pragma unroll
      for (int i = 0; i < kPairsOfLane; ++i)
        for (int j = 0; j < 2; ++j) {
          const int d = 2 * lane_ + 64 * i + j;
          numbers[i][j] = from != nullptr && d < dim ? from[d] : 0.0f;
        }
      if constexpr (Layout::kF16) bring_into_range(numbers, r);
#pragma unroll
      for (int i = 0; i < kPairsOfLane; ++i) {
        std::uint32_t parts[kQueryParts];
        split(numbers[i][0], numbers[i][1], parts);
        const int d = 2 * lane_ + 64 * i;
        if (d >= kDim) break;
#pragma unroll
        for (int p = 0; p < kQueryParts; ++p)
          *reinterpret_cast<std::uint32_t*>(queries() + (p * block_rows_ + r) * kRow + d) = parts[p];
      }
    }
  }
  /// By a power of two, so that the row's largest is 2^10 to 2^11; scores are to be multiplied by its
  /// inverse.
  __device__ void bring_into_range(float (&numbers)[kPairsOfLane][2], int row) {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kPairsOfLane; ++i)
      largest = fmaxf(largest, fmaxf(fabsf(numbers[i][0]), fabsf(numbers[i][1])));
    for (int distance = 16; distance > 0; distance /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, distance));
    std::uint32_t bits;
    memcpy(&bits, &largest, 4);
    const std::uint32_t exponent = bits >> 23 < 12 ? 12 : bits >> 23;
    const std::uint32_t up = (264 - exponent) << 23, down = (exponent - 10) << 23;
    float factor, inverse;
    memcpy(&factor, &up, 4);
    memcpy(&inverse, &down, 4);
#pragma unroll
    for (int i = 0; i < kPairsOfLane; ++i)
      for (int j = 0; j < 2; ++j) numbers[i][j] = numbers[i][j] * factor;
    if (lane_ == 0) shared<float>(Layout::kFactors)[row] = inverse;
  }
  /// Of queries and of weights.
  __device__ static void split(float low, float high, std::uint32_t (&parts)[kQueryParts]) {
    if constexpr (Layout::kF16)
      split_f16(low, high, parts);
    else
      split_pair(low, high, parts);
  }
  __device__ static void multiply(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    if constexpr (Layout::kF16)
      mma_f16(d, a, b);
    else
      mma_bf16(d, a, b);
  }

  /// The tile's keys were asked for; another tile follows, or not.
  __device__ void walk_tile(int first_key, bool another) {
    // A tile that no row of a warp sees would leave its states and sums as they are, to the bit.
    const bool sees = exists(item_.first_query + first_row_) && first_key <= last_position_;
    const bool has_scores = kDividesRows ? sees : warp_ < kGroups;
    const bool has_sums = kDividesRows ? sees : pair_of(0) < Layout::kPairs;
    Scores scores;
    Weights weights;
    float largest[2] = {kNone, kNone}, before[2], sums[2];
    tiles_.finish_keys();
    __syncthreads();
    tiles_.start_values();
    if (has_scores) {
      multiply_keys(scores);
      scale(scores, first_key);
      find_largest(scores, largest);
    }
    if constexpr (!kDividesRows) share_largest(largest);
    advance(largest, before);
    if (has_scores) weigh(scores, weights, sums);
    if constexpr (!kDividesRows)
      if (has_scores) share_weights(weights, sums);
    tiles_.finish_values();
    __syncthreads();
    if (another) {
      tiles_.start_keys();
      tiles_.find(first_key + 2 * kTileKeys);
    }
    if (has_sums) {
      add_weights(sums, before);
      multiply_values(weights);
    }
  }

  /// scores = q * k^T, of codes without their scale.
  __device__ void multiply_keys(Scores& scores) const {
    for (int g = 0; g < kOwnGroups; ++g)
      for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 4; ++i) scores[g][half][i] = 0.0f;
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      std::uint32_t q[kQueryParts][4];
#pragma unroll
      for (int qp = 0; qp < kQueryParts; ++qp)
        load_matrices<false>(
            q[qp], queries() + (qp * block_rows_ + first_row_ + lane_ % 16) * kRow + d + lane_ / 16 * 8);
#pragma unroll
      for (int first = 0; first < kOwnGroups; first += kGroupsAtOnce)
#pragma unroll
        for (int kp = 0; kp < kKvParts; ++kp) {
          std::uint32_t k[kGroupsAtOnce][4];
#pragma unroll
          for (int g = 0; g < kGroupsAtOnce; ++g) {
            const int key = group_of(first + g) * 16 + lane_ / 16 * 8 + lane_ % 8;
            load_matrices<false>(k[g], tile_of(0) + (kp * kTileKeys + key) * kRow + d + lane_ / 8 % 2 * 8);
          }
#pragma unroll
          for (int qp = 0; qp + kp < kQueryParts; ++qp)
#pragma unroll
            for (int g = 0; g < kGroupsAtOnce; ++g) {
              const std::uint32_t low[2] = {k[g][0], k[g][1]}, high[2] = {k[g][2], k[g][3]};
              multiply(scores[first + g][0], q[qp], low);
              multiply(scores[first + g][1], q[qp], high);
            }
        }
    }
  }

  template <class Change>
  __device__ void for_each_score(Scores& scores, const Change& change) const {
#pragma unroll
    for (int g = 0; g < kOwnGroups; ++g)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i) change(scores[g][half][i], i / 2, key_of(g, half) + i % 2);
  }
  /// Scores become exponents of 2, -infinity where a row does not see a key.
  __device__ void scale(Scores& scores, int first_key) const {
    float factors[2] = {args_.scale, args_.scale};
    if constexpr (Layout::kF16)
      for (int i = 0; i < 2; ++i)
        factors[i] = shared<float>(Layout::kFactors)[first_row_ + lane_ / 4 + 8 * i] * args_.scale;
    for_each_score(scores, [&](float& score, int row, int key) {
      score = (kHasScales ? score * scales_of(0)[key] : score) * factors[row];
    });
    if (args_.cap_log2 > 0.0f)
      for_each_score(scores, [&](float& score, int, int) { score = capped(score, args_.cap_log2); });
    const bool all_seen = first_key + kTileKeys - 1 <= first_position_ &&
                          (args_.window == 0 || first_key > last_position_ - args_.window);
    if (all_seen) return;
    const int window = args_.window > 0 ? args_.window : 1 << 30;
    for_each_score(scores, [&](float& score, int row, int key) {
      const int distance = positions_[row] - first_key - key;
      if (distance < 0 || distance >= window) score = kNone;
    });
  }

  __device__ void find_largest(const Scores& scores, float (&largest)[2]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      largest[i] = kNone;
#pragma unroll
      for (int g = 0; g < kOwnGroups; ++g)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          largest[i] = fmaxf(largest[i], fmaxf(scores[g][half][2 * i], scores[g][half][2 * i + 1]));
      for (int distance = 1; distance <= 2; distance *= 2)
        largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], distance));
    }
  }
  /// Of the keys of all warps.
  __device__ void share_largest(float (&largest)[2]) const {
    float* const rows = shared<float>(Layout::kLargest) + lane_ / 4;  // [group][row]
    if (warp_ < kGroups && lane_ % 4 == 0)
      for (int i = 0; i < 2; ++i) rows[warp_ * 16 + 8 * i] = largest[i];
    __syncthreads();
    for (int i = 0; i < 2; ++i) {
      largest[i] = rows[8 * i];
      for (int g = 1; g < kGroups; ++g) largest[i] = fmaxf(largest[i], rows[g * 16 + 8 * i]);
    }
  }

  /// What was summed so far is to be scaled by `before`. With kAbove, `largest` of a state is less than the
  /// largest score by so much: f16 has no smaller numbers than 2^-24, and weights that reach 2^15 use them
  /// all.
  __device__ void advance(const float (&largest)[2], float (&before)[2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float& so_far = chunk_.state[i].largest;
      const float now = fmaxf(so_far, largest[i] - kAbove);
      before[i] = fast_exp2(so_far - base_of(now));
      so_far = now;
    }
  }
  /// Rows that have seen no key yet have weights of 0.
  static __device__ float base_of(float largest) { return largest == kNone ? 0.0f : largest; }

  /// sums: of the weights of this warp's groups, this lane's part of its two rows.
  __device__ void weigh(Scores& scores, Weights& weights, float (&sums)[2]) const {
    const float base[2] = {base_of(chunk_.state[0].largest), base_of(chunk_.state[1].largest)};
    for_each_score(scores, [&](float& score, int row, int) { score = fast_exp2(score - base[row]); });
#pragma unroll
    for (int g = 0; g < kOwnGroups; ++g) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float sum =
            (scores[g][0][2 * i] + scores[g][0][2 * i + 1]) + (scores[g][1][2 * i] + scores[g][1][2 * i + 1]);
        sums[i] = g == 0 ? sum : sums[i] + sum;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float pair[2] = {scores[g][half][2 * i], scores[g][half][2 * i + 1]};
          if constexpr (kHasScales)
            for (int key = 0; key < 2; ++key) pair[key] = pair[key] * scales_of(1)[key_of(g, half) + key];
          std::uint32_t parts[kQueryParts];
          if constexpr (kQueryParts == 2 && !Layout::kF16)
            split_finite(pair[0], pair[1], parts);
          else
            split(pair[0], pair[1], parts);
#pragma unroll
          for (int p = 0; p < kQueryParts; ++p) weights[g][p][2 * half + i] = parts[p];
        }
    }
  }
  __device__ void share_weights(const Weights& weights, const float (&sums)[2]) const {
    for (int p = 0; p < kQueryParts; ++p)
      shared<uint4>(Layout::kWeights)[(warp_ * kQueryParts + p) * 32 + lane_] = {
          weights[0][p][0], weights[0][p][1], weights[0][p][2], weights[0][p][3]};
    shared<float2>(Layout::kWeightSums)[warp_ * 32 + lane_] = {sums[0], sums[1]};
  }

  /// Of the weights of all warps.
  __device__ void collect_sums(float (&sums)[2]) const {
    const float2* const all = shared<float2>(Layout::kWeightSums) + lane_;
    sums[0] = all[0].x, sums[1] = all[0].y;
    for (int g = 1; g < kGroups; ++g) sums[0] = sums[0] + all[32 * g].x, sums[1] = sums[1] + all[32 * g].y;
  }

  __device__ void add_weights(float (&sums)[2], const float (&before)[2]) {
    if constexpr (!kDividesRows) collect_sums(sums);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      for (int distance = 1; distance <= 2; distance *= 2)
        sums[i] = sums[i] + __shfl_xor_sync(~0u, sums[i], distance);
      chunk_.state[i].weights = fmaf(chunk_.state[i].weights, before[i], sums[i]);
    }
#pragma unroll
    for (int p = 0; p < kOwnPairs; ++p)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i) chunk_.of[p][half][i] = chunk_.of[p][half][i] * before[i / 2];
  }

  /// Sums += weights * v, of this warp's columns.
  __device__ void multiply_values(const Weights& weights) {
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      std::uint32_t a[kQueryParts][4];
#pragma unroll
      for (int p = 0; p < kQueryParts; ++p) {
        if constexpr (kDividesRows) {
          for (int i = 0; i < 4; ++i) a[p][i] = weights[g][p][i];
        } else {
          const uint4 four = shared<uint4>(Layout::kWeights)[(g * kQueryParts + p) * 32 + lane_];
          a[p][0] = four.x, a[p][1] = four.y, a[p][2] = four.z, a[p][3] = four.w;
        }
      }
#pragma unroll
      for (int first = 0; first < kOwnPairs; first += kPairsAtOnce)
#pragma unroll
        for (int vp = 0; vp < kKvParts; ++vp) {
          std::uint32_t v[kPairsAtOnce][4];
#pragma unroll
          for (int n = 0; n < kPairsAtOnce; ++n)
            load_matrices<true>(v[n], tile_of(1) + (vp * kTileKeys + g * 16 + lane_ % 16) * kRow +
                                          pair_of(first + n) * 16 + lane_ / 16 * 8);
#pragma unroll
          for (int p = 0; p + vp < kQueryParts; ++p)
#pragma unroll
            for (int n = 0; n < kPairsAtOnce; ++n) {
              const std::uint32_t low[2] = {v[n][0], v[n][1]}, high[2] = {v[n][2], v[n][3]};
              multiply(chunk_.of[first + n][0], a[p], low);
              multiply(chunk_.of[first + n][1], a[p], high);
            }
        }
    }
  }

  __device__ void merge_chunk() {
    float before[2], after[2];
    for (int i = 0; i < 2; ++i) merge(all_.state[i], chunk_.state[i], before[i], after[i]);
#pragma unroll
    for (int p = 0; p < kOwnPairs; ++p)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          all_.of[p][half][i] =
              merged(all_.of[p][half][i], before[i / 2], chunk_.of[p][half][i], after[i / 2]);
    chunk_.clear();
  }

  /// visit(column, its number of sums) for what this lane holds of its row i.
  template <class Visit>
  __device__ void for_each_column(const Sums& sums, int i, const Visit& visit) const {
#pragma unroll
    for (int p = 0; p < kOwnPairs; ++p)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int column = pair_of(p) * 16 + half * 8 + lane_ % 4 * 2 + j;
          if (column < args_.cache.head_dim) visit(column, sums.of[p][half][2 * i + j]);
        }
  }

  __device__ void store() const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!exists(query_of(i))) continue;
      float* const to = args_.out.data + head_of(query_of(i), args_.out.stride);
      const float factor = 1.0f / all_.state[i].weights;
      for_each_column(all_, i, [&](int column, float sum) { to[column] = sum * factor; });
    }
  }

  __device__ void store_partial() const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!exists(query_of(i))) continue;
      const std::int64_t at = (std::int64_t{item_.partial} * args_.cache.heads + head_) * args_.partial_rows +
                              first_row_ + lane_ / 4 + 8 * i;
      float* const to = args_.partial_sums + at * args_.cache.head_dim;
      for_each_column(chunk_, i, [&](int column, float sum) { to[column] = sum; });
      if (pair_of(0) == 0 && lane_ % 4 == 0)
        args_.partial_state[at] = {chunk_.state[i].largest, chunk_.state[i].weights};
    }
  }

  const AttentionArguments& args_;
  const AttentionItem item_;
  const int head_;
  const QueryHeads heads_;
  const int block_rows_, lane_, warp_, first_row_, last_query_;
  unsigned char* const shared_;
  KeyTiles<kDim, kType, Layout> tiles_;
  int positions_[2];                    // of the lane's rows
  int first_position_, last_position_;  // of the warp's rows
  Sums chunk_, all_;                    // of this chunk of keys, of the chunks before
};

}  // namespace llm_tp

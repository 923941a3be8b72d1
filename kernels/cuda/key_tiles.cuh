#pragma once
// Keys and values of a sequence, from their pages to shared memory a tile at a time.
#include "kernels/cuda/attention_layout.cuh"

namespace llm_tp {

/// One thread's part of it: a warp brings a quarter of a tile, in runs of eight numbers. A tile is asked for
/// by start_keys() and start_values(), while others are multiplied; finish_keys() and finish_values() put it
/// where the barrier after them lets the block read it: as parts [part][key][kRow], zeros where no token was
/// written, where a page was given back, and beyond head_dim.
template <int kDim, DType kType, class Layout>
class KeyTiles {
 public:
  __device__ KeyTiles(const AttentionArguments& args, const AttentionItem& item, int head,
                      unsigned char* shared)
      : args_(args),
        pages_(args.pages + item.first_page),
        pages_before_(item.pages_before),
        positions_(item.first_position + item.rows),
        head_(head),
        lane_(static_cast<int>(threadIdx.x) % 32),
        first_of_warp_(static_cast<int>(threadIdx.x) / 32 * kKeysOfWarp),
        element_(lane_ % kRuns * 8),
        shared_(shared) {}

  /// Looks up the page of this lane's key of the tile that start_keys() will ask for.
  __device__ void find(int first_key) {
    const int position = first_key + first_of_warp_ + lane_ % kKeysOfWarp;
    const int page_number = position / args_.cache.page_tokens - pages_before_;
    is_there_ = position < positions_ && page_number >= 0;
    token_ = position % args_.cache.page_tokens;
    if (is_there_) page_ = pages_[page_number];
  }

  __device__ void start_keys() {
    are_there_ = __ballot_sync(~0u, is_there_ ? 1 : 0);
    key_ = is_there_ ? vector(0).numbers : args_.cache.data;
    if constexpr (kHasScales)
      for (int values = 0; values < 2; ++values) scales_[values] = is_there_ ? *vector(values).scale : 0.0f;
    start(0);
  }
  /// Of the tile of the last start_keys().
  __device__ void start_values() { start(1); }

  /// And the scales of keys and values.
  __device__ void finish_keys() {
    finish(0);
    if constexpr (kHasScales)
      if (lane_ < kKeysOfWarp)
        for (int values = 0; values < 2; ++values)
          reinterpret_cast<float*>(shared_ +
                                   Layout::kScales)[values * Layout::kTileKeys + first_of_warp_ + lane_] =
              scales_[values];
  }
  __device__ void finish_values() { finish(1); }

 private:
  static constexpr bool kHasScales = Layout::kHasScales;
  static constexpr bool kCopies = kType == DType::kBF16 || kType == DType::kF16;  // parts as they are
  static constexpr int kNumberBytes = kHasScales ? 1 : kType == DType::kF32 ? 4 : 2;
  static constexpr int kWords = 2 * kNumberBytes;  // of 32 bits, of a run
  static constexpr int kRuns = kDim / 8;           // of a key
  static constexpr int kKeysOfWarp = Layout::kTileKeys / kAttentionWarps;
  static constexpr int kRunsOfLane = kKeysOfWarp * kRuns / 32;  // of a tile

  __device__ CacheVector vector(int values) const {
    return cache_vector(args_.cache, page_, args_.layer, values, head_, token_);
  }
  /// Of this lane's run i: its key of the warp's, and where the run lies; it is there or is zeros.
  __device__ int key_of(int i) const { return lane_ / kRuns + 32 / kRuns * i; }
  __device__ bool has_run(int i) const {
    return element_ < args_.cache.head_dim && (are_there_ >> key_of(i) & 1u) != 0;
  }
  /// key: this lane's, of which others have runs.
  __device__ const unsigned char* source_of(int i, const unsigned char* key) const {
    const auto of_run = __shfl_sync(~0u, reinterpret_cast<unsigned long long>(key), key_of(i));
    return reinterpret_cast<const unsigned char*>(of_run) + element_ * kNumberBytes;
  }
  __device__ const unsigned char* own_key(int values) const {
    return key_ + values * (args_.cache.heads * args_.cache.head_bytes);
  }
  /// And where it goes.
  __device__ unsigned short* place_of(int i, int values, int part) const {
    return reinterpret_cast<unsigned short*>(shared_ + values * Layout::kTileBytes) +
           (part * Layout::kTileKeys + first_of_warp_ + key_of(i)) * Layout::kRow + element_;
  }

  __device__ void start(int values) {
    if (!args_.has_whole_runs) return;
    const unsigned char* const key = own_key(values);
#pragma unroll
    for (int i = 0; i < kRunsOfLane; ++i) {
      const unsigned char* const from = source_of(i, key);
      if constexpr (kCopies)
        copy_async_or_zeros(place_of(i, values, 0), from, has_run(i));
      else
        load(from, has_run(i), words_[i]);
    }
    if constexpr (kCopies) commit_copies();
  }
  __device__ static void load(const unsigned char* from, bool has_run, std::uint32_t (&words)[kWords]) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) words[w] = 0;
    if (!has_run) return;
    if constexpr (kNumberBytes == 1) {
      const uint2 two = load_once(reinterpret_cast<const uint2*>(from));
      words[0] = two.x, words[1] = two.y;
    } else {
#pragma unroll
      for (int w = 0; w < kWords; w += 4) {
        const uint4 four = load_once(reinterpret_cast<const uint4*>(from + 4 * w));
        words[w] = four.x, words[w + 1] = four.y, words[w + 2] = four.z, words[w + 3] = four.w;
      }
    }
  }

  __device__ void finish(int values) {
    if (!args_.has_whole_runs) {
      bring_byte_by_byte(values);
    } else if constexpr (kCopies) {
      wait_for_copies<0>();
    } else {
#pragma unroll
      for (int i = 0; i < kRunsOfLane; ++i) keep(i, values, words_[i]);
    }
  }
  /// Keys of odd sizes, whose runs lie where no load of words may fetch them.
  __device__ void bring_byte_by_byte(int values) const {
#pragma unroll 1
    for (int i = 0; i < kRunsOfLane; ++i) {
      const unsigned char* const from = source_of(i, own_key(values));
      const int bytes = has_run(i) ? (args_.cache.head_dim - element_) * kNumberBytes : 0;
      std::uint32_t words[kWords] = {};
#pragma unroll
      for (int b = 0; b < 4 * kWords; ++b)
        if (b < bytes) words[b / 4] |= std::uint32_t{from[b]} << b % 4 * 8;
      keep(i, values, words);
    }
  }

  __device__ void keep(int i, int values, const std::uint32_t (&words)[kWords]) const {
    std::uint32_t parts[Layout::kKvParts][4];
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      if constexpr (kCopies) {
        parts[0][pair] = words[pair];
        continue;
      }
      std::uint32_t of_pair[Layout::kKvParts];
      split_pair(number_of(words, 2 * pair), number_of(words, 2 * pair + 1), of_pair);
#pragma unroll
      for (int p = 0; p < Layout::kKvParts; ++p) parts[p][pair] = of_pair[p];
    }
#pragma unroll
    for (int p = 0; p < Layout::kKvParts; ++p)
      *reinterpret_cast<uint4*>(place_of(i, values, p)) =
          uint4{parts[p][0], parts[p][1], parts[p][2], parts[p][3]};
  }
  /// Of caches whose numbers are no parts; without its scale.
  __device__ static float number_of(const std::uint32_t (&words)[kWords], int i) {
    if constexpr (kType == DType::kF32) {
      float number;
      memcpy(&number, words + i, 4);
      return number;
    } else {
      const std::uint32_t code = words[i / 4] >> i % 4 * 8 & 0xffu;
      if constexpr (kType == DType::kInt8) return static_cast<float>(static_cast<signed char>(code));
      return e4m3_value(code);
    }
  }

  const AttentionArguments& args_;
  const std::int32_t* const pages_;  // of the slice
  const int pages_before_, positions_, head_, lane_, first_of_warp_, element_;
  unsigned char* const shared_;
  // This lane's key of the tile to come: what find() found.
  bool is_there_ = false;
  int token_ = 0;
  std::int32_t page_ = 0;
  // Of the tile that was asked for: where the key is, and what is on its way to registers.
  const unsigned char* key_ = nullptr;
  std::uint32_t are_there_ = 0;  // of the warp's keys
  float scales_[2] = {};
  std::uint32_t words_[kCopies ? 1 : kRunsOfLane][kWords];
};

}  // namespace llm_tp

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {
namespace {

constexpr int kQueryParts = 3;

/// Elements from one row of 16-bit numbers in shared memory to the next: 16 bytes more than the row, so that
/// the eight rows of an ldmatrix lie in different banks.
constexpr __host__ __device__ int row_elements(int dim) { return dim + 8; }

constexpr __host__ __device__ int parts_of(DType dtype) {
  return dtype == DType::kBF16 ? 1 : dtype == DType::kF16 ? 2 : 3;
}

/// One block: all rows of an item of one KV head. A warp has 16 of them. kType: of the cache; with the type
/// unknown widening its numbers took most of the time.
template <int kDim, DType kType>
class Attention {
 public:
  __device__ Attention(const AttentionArguments& args, unsigned char* shared)
      : args_(args),
        item_(args.items[blockIdx.x]),
        head_(static_cast<int>(blockIdx.y)),
        heads_(query_heads_of(args.heads, head_)),
        block_rows_(static_cast<int>(blockDim.x) / 2),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_row_(static_cast<int>(threadIdx.x) / 32 * 16),
        queries_(reinterpret_cast<unsigned short*>(shared)),
        keys_(queries_ + kQueryParts * block_rows_ * row_elements(kDim)) {}

  __device__ bool has_work() const { return item_.first_query < item_.rows * heads_.count; }

  __device__ void run() {
    load_queries();
    for (int i = 0; i < 2; ++i) all_[i] = {kNone, 0.0f};
    for (int n = 0; n < kDim / 8; ++n)
      for (int i = 0; i < 4; ++i) all_sums_[n][i] = 0.0f;
    // Positions that any row of this block sees.
    const int last_query = min_of(item_.first_query + block_rows_, item_.rows * heads_.count) - 1;
    const int last = item_.first_position + last_query / heads_.count;
    const int first_seen = item_.first_position + item_.first_query / heads_.count + 1 - args_.window;
    const int first = args_.window > 0 && first_seen > 0 ? first_seen : 0;
    const bool partial = item_.partial >= 0;
    const int first_chunk = partial ? item_.first_chunk : first / kChunkKeys;
    const int last_chunk = partial ? item_.first_chunk + item_.chunks - 1 : last / kChunkKeys;
    for (int chunk = first_chunk; chunk <= last_chunk; ++chunk) {
      for (int i = 0; i < 2; ++i) state_[i] = {kNone, 0.0f};
      for (int n = 0; n < kDim / 8; ++n)
        for (int i = 0; i < 4; ++i) sums_[n][i] = 0.0f;
      const int from = max_of(first, chunk * kChunkKeys) / kKeyTile;
      const int to = min_of(last, chunk * kChunkKeys + kChunkKeys - 1) / kKeyTile;
      fetch_tile(from * kKeyTile, 0);
      for (int tile = from; tile <= to; ++tile) walk_tile(tile * kKeyTile, tile < to);
      if (partial) return store_partial();
      merge_chunk();
    }
    store();
  }

 private:
  static __device__ int min_of(int a, int b) { return a < b ? a : b; }
  static __device__ int max_of(int a, int b) { return a > b ? a : b; }

  /// Packed row of the slice of this lane's row i: 0 or 1, eight rows apart.
  __device__ int query_of(int i) const { return item_.first_query + warp_row_ + lane_ / 4 + 8 * i; }
  __device__ bool exists(int query) const { return query < item_.rows * heads_.count; }
  __device__ float* output_of(int query) const {
    const std::int64_t row = item_.first_row + query / heads_.count;
    return args_.out.data + row * args_.out.stride +
           (heads_.first + query % heads_.count) * args_.cache.head_dim;
  }

  /// Rows of the block in parts, zeros beyond the rows that exist and beyond head_dim.
  __device__ void load_queries() {
    const int plane = block_rows_ * row_elements(kDim);
    for (int i = static_cast<int>(threadIdx.x); i < block_rows_ * kDim; i += static_cast<int>(blockDim.x)) {
      const int r = i / kDim, d = i % kDim, query = item_.first_query + r;
      float value = 0.0f;
      if (exists(query) && d < args_.cache.head_dim) {
        const std::int64_t row = item_.first_row + query / heads_.count;
        value = args_.q.data[row * args_.q.stride +
                             (heads_.first + query % heads_.count) * args_.cache.head_dim + d];
      }
      std::uint32_t parts[kQueryParts];
      split_bf16(value, parts);
#pragma unroll
      for (int p = 0; p < kQueryParts; ++p)
        queries_[p * plane + r * row_elements(kDim) + d] = static_cast<unsigned short>(parts[p]);
    }
  }

  /// Of a tile's run i of eight numbers: the key's vector, and whether it was written and is there.
  struct Run {
    CacheVector vector;
    bool present;
  };
  static __device__ int key_of(int i) { return i / kRuns; }
  static __device__ int element_of(int i) { return i % kRuns * 8; }
  __device__ Run run_of(int i, int first_key, int values) const {
    const int position = first_key + key_of(i);
    const int page_number = position / args_.cache.page_tokens - item_.pages_before;
    Run run{{kType, nullptr, nullptr}, position < item_.first_position + item_.rows && page_number >= 0};
    if (!run.present) return run;
    const std::int64_t page = args_.pages[item_.first_page + page_number];
    DeviceCache cache = args_.cache;
    cache.dtype = kType;
    run.vector = cache_vector(cache, page, args_.layer, values, head_, position % args_.cache.page_tokens);
    run.vector.dtype = kType;
    return run;
  }

  /// Asks for 32 keys or values from the pages, which load_tile() of the same arguments then finds in
  /// registers: all of a tile's loads are on their way at once, while the tile before is multiplied.
  __device__ void fetch_tile(int first_key, int values) {
#pragma unroll
    for (int f = 0; f < kFetched; ++f) {
      const int i = static_cast<int>(threadIdx.x + f * blockDim.x);
      const Run run = run_of(i, first_key, values);
      is_fetched_[f] = !run.present || run.vector.has_word(element_of(i), args_.cache.head_dim);
      fetched_[f] = run.present && is_fetched_[f] ? run.vector.word(element_of(i)) : uint4{};
      scales_[f] = run.present && has_scales(kType) ? *run.vector.scale : 0.0f;
    }
  }

  /// Keys or values in parts; zeros where no token was written yet and where pages were given back. A thread
  /// has runs of eight numbers.
  __device__ void load_tile(int first_key, int values) {
#pragma unroll
    for (int f = 0; f < kFetched; ++f) {
      const int i = static_cast<int>(threadIdx.x + f * blockDim.x);
      float numbers[8] = {};
      if (is_fetched_[f])
        CacheVector::from_word(kType, fetched_[f], scales_[f], numbers);
      else
        run_of(i, first_key, values).vector.eight_numbers(element_of(i), args_.cache.head_dim, numbers);
      keep(i, numbers);
    }
    // What blocks of fewer threads, and of heads of 256, have left.
    for (int i = static_cast<int>(threadIdx.x + kFetched * blockDim.x); i < kKeyTile * kRuns;
         i += static_cast<int>(blockDim.x)) {
      const Run run = run_of(i, first_key, values);
      float numbers[8] = {};
      if (run.present) run.vector.eight_numbers(element_of(i), args_.cache.head_dim, numbers);
      keep(i, numbers);
    }
  }
  __device__ void keep(int i, const float (&numbers)[8]) {
    if (key_of(i) >= kKeyTile) return;
    std::uint32_t parts[4][kKvParts];
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) split_pair(numbers[2 * pair], numbers[2 * pair + 1], parts[pair]);
#pragma unroll
    for (int p = 0; p < kKvParts; ++p)
      *reinterpret_cast<uint4*>(keys_ + (p * kKeyTile + key_of(i)) * row_elements(kDim) + element_of(i)) =
          uint4{parts[0][p], parts[1][p], parts[2][p], parts[3][p]};
  }

  /// The tile's keys were fetched; another tile of this chunk follows, or not.
  __device__ void walk_tile(int first_key, bool another) {
    const bool rows = exists(item_.first_query + warp_row_);  // of this warp
    float scores[kKeyTile / 8][4] = {};
    load_tile(first_key, 0);
    fetch_tile(first_key, 1);
    __syncthreads();
    if (rows) multiply_keys(scores);
    __syncthreads();
    load_tile(first_key, 1);
    if (another) fetch_tile(first_key + kKeyTile, 0);
    __syncthreads();
    if (rows) {
      weigh(scores, first_key);
      multiply_values(scores);
    }
    __syncthreads();
  }

  /// scores += q * k^T.
  __device__ void multiply_keys(float (&scores)[kKeyTile / 8][4]) const {
    for (int d = 0; d < kDim; d += 16) {
#pragma unroll
      for (int qp = 0; qp < kQueryParts; ++qp) {
        std::uint32_t a[4];
        load_matrices<false>(a, queries_ + (qp * block_rows_ + warp_row_ + lane_ % 16) * row_elements(kDim) +
                                    d + lane_ / 16 * 8);
#pragma unroll
        for (int kp = 0; kp < kKvParts; ++kp) {
          if (kp + qp >= 3) break;
#pragma unroll
          for (int n = 0; n < kKeyTile / 8; n += 2) {
            std::uint32_t r[4];
            const int key = n * 8 + lane_ / 16 * 8 + lane_ % 8;
            load_matrices<false>(r,
                                 keys_ + (kp * kKeyTile + key) * row_elements(kDim) + d + lane_ / 8 % 2 * 8);
            const std::uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
            mma_bf16(scores[n], a, low);
            mma_bf16(scores[n + 1], a, high);
          }
        }
      }
    }
  }

  /// Scores become weights relative to the largest so far; what was summed before is scaled to it.
  __device__ void weigh(float (&scores)[kKeyTile / 8][4], int first_key) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = query_of(i);
      const int position = item_.first_position + query / heads_.count;
      float largest = kNone;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int key = first_key + n * 8 + lane_ % 4 * 2 + j;
          const bool seen =
              exists(query) && key <= position && (args_.window == 0 || key > position - args_.window);
          float& score = scores[n][2 * i + j];
          const float scaled = score * args_.scale;
          score = !seen ? kNone : args_.cap > 0.0f ? args_.cap_log2 * tanhf(scaled / args_.cap) : scaled;
          largest = fmaxf(largest, score);
        }
      for (int distance = 1; distance <= 2; distance *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, distance));
      largest = fmaxf(largest, state_[i].largest);
      const bool any = largest != kNone;
      const float before = any ? fast_exp2(state_[i].largest - largest) : 1.0f;
      float weights = 0.0f;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& score = scores[n][2 * i + j];
          score = any ? fast_exp2(score - largest) : 0.0f;
          weights = weights + score;
        }
      for (int distance = 1; distance <= 2; distance *= 2)
        weights = weights + __shfl_xor_sync(~0u, weights, distance);
      state_[i] = {largest, fmaf(state_[i].weights, before, weights)};
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) sums_[n][2 * i + j] = sums_[n][2 * i + j] * before;
    }
  }

  /// sums += weights * v. The weights of two tiles of 8 keys are, as they lie, operand a of 16 keys.
  __device__ void multiply_values(const float (&weights)[kKeyTile / 8][4]) {
#pragma unroll
    for (int step = 0; step < kKeyTile / 16; ++step) {
      std::uint32_t a[kQueryParts][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const pair = weights[2 * step + i / 2] + i % 2 * 2;
        std::uint32_t parts[kQueryParts];
        split_pair(pair[0], pair[1], parts);
#pragma unroll
        for (int p = 0; p < kQueryParts; ++p) a[p][i] = parts[p];
      }
#pragma unroll
      for (int d = 0; d < kDim / 8; d += 2)
#pragma unroll
        for (int vp = 0; vp < kKvParts; ++vp) {
          std::uint32_t r[4];
          load_matrices<true>(r, keys_ + (vp * kKeyTile + step * 16 + lane_ % 16) * row_elements(kDim) +
                                     d * 8 + lane_ / 16 * 8);
          const std::uint32_t low[2] = {r[0], r[1]}, high[2] = {r[2], r[3]};
#pragma unroll
          for (int p = 0; p < kQueryParts; ++p)
            if (p + vp < 3) {
              mma_bf16(sums_[d], a[p], low);
              mma_bf16(sums_[d + 1], a[p], high);
            }
        }
    }
  }

  __device__ void merge_chunk() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float before = 1.0f, after = 0.0f;
      merge(all_[i], state_[i], before, after);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          all_sums_[n][2 * i + j] = merged(all_sums_[n][2 * i + j], before, sums_[n][2 * i + j], after);
    }
  }

  /// visit(row i of the lane, element of head_dim, n, number) for what this lane holds and exists.
  template <class Visit>
  __device__ void for_each_own(const Visit& visit) const {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int d = n * 8 + lane_ % 4 * 2 + i % 2;
        if (exists(query_of(i / 2)) && d < args_.cache.head_dim) visit(i / 2, d, n, i);
      }
  }

  __device__ void store() const {
    for_each_own([&](int row, int d, int n, int i) {
      output_of(query_of(row))[d] = all_sums_[n][i] / all_[row].weights;
    });
  }

  __device__ void store_partial() const {
    const std::int64_t first =
        (std::int64_t{item_.partial} * args_.cache.heads + head_) * args_.partial_rows + warp_row_;
    for_each_own([&](int row, int d, int n, int i) {
      const std::int64_t to = first + lane_ / 4 + 8 * row;
      args_.partial_sums[to * args_.cache.head_dim + d] = sums_[n][i];
      if (d == 0) args_.partial_state[to] = {state_[row].largest, state_[row].weights};
    });
  }

  static constexpr int kRuns = kDim / 8, kKvParts = parts_of(kType);
  // Runs of eight that a thread fetches ahead; heads of 256 have no registers left for it.
  static constexpr int kFetched = kDim <= 128 ? (kKeyTile * kRuns + 127) / 128 : 0;

  const AttentionArguments& args_;
  const AttentionItem item_;
  const int head_;
  const QueryHeads heads_;
  const int block_rows_, lane_, warp_row_;
  unsigned short* const queries_;  // [part][block row][row_elements]
  unsigned short* const keys_;     // [part][key][row_elements], then the values
  bool is_fetched_[kFetched > 0 ? kFetched : 1];
  uint4 fetched_[kFetched > 0 ? kFetched : 1];
  float scales_[kFetched > 0 ? kFetched : 1];
  Softmax state_[2], all_[2];  // of this chunk, of the chunks before; of the lane's two rows
  float sums_[kDim / 8][4], all_sums_[kDim / 8][4];
};

template <int kDim, DType kType>
__global__ void __launch_bounds__(128, kDim <= 32   ? 3
                                       : kDim == 64 ? 2
                                                    : 1) attend_kernel(AttentionArguments args) {
  LLM_TP_DYNAMIC_SHARED(shared);
  Attention<kDim, kType> block(args, shared);
  if (block.has_work()) block.run();
}

int padded_dim(int head_dim) {
  for (const int dim : {16, 32, 64, 128, 256})
    if (head_dim <= dim) return dim;
  throw Error(ExitCode::kUnavailable,
              "device cuda: heads of " + std::to_string(head_dim) + " elements; at most 256 are supported");
}

std::size_t shared_bytes(int dim, DType cache_dtype, int block_rows) {
  return static_cast<std::size_t>((kQueryParts * block_rows + parts_of(cache_dtype) * kKeyTile) *
                                  row_elements(dim)) *
         2;
}

template <int kDim, DType kType>
void launch_attend(cudaStream_t stream, const AttentionArguments& args, dim3 grid, int block_rows,
                   std::size_t most) {
  const auto kernel = attend_kernel<kDim, kType>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
             "cudaFuncSetAttribute");
  launch("attend_kernel", kernel, grid, static_cast<unsigned>(2 * block_rows),
         shared_bytes(kDim, kType, block_rows), stream, args);
}

template <int kDim>
void launch_attend(cudaStream_t stream, const AttentionArguments& args, dim3 grid, int block_rows,
                   std::size_t most) {
  switch (args.cache.dtype) {
    case DType::kF32:
      return launch_attend<kDim, DType::kF32>(stream, args, grid, block_rows, most);
    case DType::kF16:
      return launch_attend<kDim, DType::kF16>(stream, args, grid, block_rows, most);
    case DType::kBF16:
      return launch_attend<kDim, DType::kBF16>(stream, args, grid, block_rows, most);
    case DType::kInt8:
      return launch_attend<kDim, DType::kInt8>(stream, args, grid, block_rows, most);
    case DType::kE4M3:
      return launch_attend<kDim, DType::kE4M3>(stream, args, grid, block_rows, most);
    default:
      throw_bug("dtype", __FILE__, __LINE__, "a cache of an unknown dtype");
  }
}

}  // namespace

int attention_block_rows(int head_dim, DType cache_dtype, std::size_t shared_bytes_at_most) {
  return shared_bytes(padded_dim(head_dim), cache_dtype, 64) <= shared_bytes_at_most ? 64 : 32;
}
std::int64_t partial_state_bytes(std::int64_t rows, const DeviceCache& cache) {
  return rows * cache.heads * std::int64_t{sizeof(float2)};
}
std::int64_t partial_sum_bytes(std::int64_t rows, const DeviceCache& cache) {
  return rows * cache.heads * cache.head_dim * 4;
}

void attend(cudaStream_t stream, const AttentionArguments& args, const AttentionPlan& plan, int block_rows,
            std::size_t shared_bytes_at_most) {
  const dim3 grid(static_cast<unsigned>(plan.items.size()), static_cast<unsigned>(args.cache.heads));
  switch (padded_dim(args.cache.head_dim)) {
    case 16:
      launch_attend<16>(stream, args, grid, block_rows, shared_bytes_at_most);
      break;
    case 32:
      launch_attend<32>(stream, args, grid, block_rows, shared_bytes_at_most);
      break;
    case 64:
      launch_attend<64>(stream, args, grid, block_rows, shared_bytes_at_most);
      break;
    case 128:
      launch_attend<128>(stream, args, grid, block_rows, shared_bytes_at_most);
      break;
    default:
      launch_attend<256>(stream, args, grid, block_rows, shared_bytes_at_most);
  }
  if (!plan.merges.empty()) merge_chunks(stream, args, plan);
}

}  // namespace llm_tp

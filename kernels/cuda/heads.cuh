#pragma once
// What a warp does with one head of a row: for the kernel of heads alone, and for products whose last blocks
// go on with them.
#include "kernels/cuda/heads.h"
#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {

constexpr int kHeadRuns = kMostHeadDim / 32;

/// A head of a row: element lane + 32 r of it is number r of a lane; zeros beyond head_dim.
class Head {
 public:
  __device__ Head(const float* from, int dim, int lane) : dim_(dim), lane_(lane) {
#pragma unroll
    for (int r = 0; r < kHeadRuns; ++r) numbers_[r] = lane + 32 * r < dim ? from[lane + 32 * r] : 0.0f;
  }

  /// The runs' squares are folded by halves and added in order, as rms_norm has it for rows so short.
  __device__ void norm(const float* weight, float epsilon) {
    float total = 0.0f;
#pragma unroll
    for (int r = 0; r < kHeadRuns; ++r) {
      float sum = numbers_[r] * numbers_[r];
      for (int distance = 16; distance > 0; distance /= 2) sum = sum + __shfl_xor_sync(~0u, sum, distance);
      total = total + sum;
    }
    const float factor = 1.0f / sqrtf(total / static_cast<float>(dim_) + epsilon);
    for_each([&](int d, float& number) { number = number * factor * weight[d]; });
  }

  /// Element i turns with element i + half. at: the head's place in memory, by which lanes see each other's.
  __device__ void rotate(const float* angles, int half, float* at) {
    store(at);
    __syncwarp();
    for_each([&](int d, float& number) {
      if (d < half) number = fmaf(number, angles[d], -(at[d + half] * angles[half + d]));
      if (d >= half && d < 2 * half) number = fmaf(number, angles[d - half], at[d - half] * angles[d]);
    });
    __syncwarp();
  }

  __device__ void store(float* to) {
    for_each([&](int d, float& number) { to[d] = number; });
  }

  /// As kernels/vector_codes.h has it.
  __device__ void store(const CacheVector& to) {
    float scale = 0.0f;
    if (has_scales(to.dtype)) {
      float largest = 0.0f;
      int finite = 1;
      for_each([&](int, float& number) {
        if (!(fabsf(number) <= 3.4028234e38f)) finite = 0;
        largest = fmaxf(largest, fabsf(number));
      });
      for (int distance = 16; distance > 0; distance /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, distance));
        finite &= __shfl_xor_sync(~0u, finite, distance);
      }
      scale = finite != 0 ? largest / (to.dtype == DType::kInt8 ? 127.0f : 448.0f) : NAN;
      if (lane_ == 0) *to.scale = scale;
    }
    for_each([&](int d, float& number) { to.set(d, number, scale); });
  }

 private:
  template <class Visit>
  __device__ void for_each(const Visit& visit) {
#pragma unroll
    for (int r = 0; r < kHeadRuns; ++r)
      if (lane_ + 32 * r < dim_) visit(lane_ + 32 * r, numbers_[r]);
  }
  float numbers_[kHeadRuns];
  int dim_, lane_;
};

/// Heads of all parts, numbered one part after the other.
__device__ inline int heads_of(const HeadArguments& args) {
  return args.parts[0].heads + args.parts[1].heads + args.parts[2].heads;
}

/// Norm, rotation and page of one of them, by a warp.
__device__ inline void prepare_head(const HeadArguments& args, int head, int row, int lane) {
  const int first = args.parts[0].heads, second = first + args.parts[1].heads;
  const HeadRows part = head < first ? args.parts[0] : head < second ? args.parts[1] : args.parts[2];
  head -= head < first ? 0 : head < second ? first : second;
  float* const at = part.rows.data + row * part.rows.stride + std::int64_t{head} * args.head_dim;
  Head numbers(at, args.head_dim, lane);
  if (part.norm != nullptr) numbers.norm(part.norm, args.epsilon);
  if (part.rotates)
    numbers.rotate(args.cos_sin.data + row * args.cos_sin.stride, static_cast<int>(args.cos_sin.columns / 2),
                   at);
  if (part.norm != nullptr || part.rotates) numbers.store(at);
  if (part.kept >= 0) {
    const std::int32_t slot = args.slots[row];
    numbers.store(cache_vector(args.cache, slot / args.cache.page_tokens, args.layer, part.kept, head,
                               slot % args.cache.page_tokens));
  }
}

/// The end of a block of a product that stored rows [first_row, end_row) of the weight, which are heads, of
/// all its tokens: where no block has rows of a head left to store, this one prepares it. All threads call
/// it. row_blocks: rows of a block; token_blocks: blocks of the same rows; is_last: a word of shared memory
/// that is no longer needed.
__device__ inline void finish_heads(const HeadTail& tail, int first_row, int end_row, int row_blocks,
                                    int token_blocks, int tokens, int* is_last) {
  const int dim = tail.heads.head_dim, heads = heads_of(tail.heads);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int head = first_row / dim; head < heads && head * dim < end_row; ++head) {
    __syncthreads();  // all threads have stored; then the one that counts releases what they did
    if (threadIdx.x == 0) {
      const int blocks = ((head + 1) * dim - 1) / row_blocks - head * dim / row_blocks + 1;
      const auto most = static_cast<std::uint32_t>(blocks * token_blocks - 1);
      *is_last = count_up(tail.counts + head, most) == most ? 1 : 0;
    }
    __syncthreads();
    if (*is_last == 0) continue;
    for (int row = warp; row < tokens; row += static_cast<int>(blockDim.x) / 32)
      prepare_head(tail.heads, head, row, lane);
  }
}

}  // namespace llm_tp

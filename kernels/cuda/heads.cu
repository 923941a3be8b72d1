#include "kernels/cuda/heads.h"

#include "kernels/cuda/kv_cache.cuh"

namespace llm_tp {
namespace {

constexpr int kWarps = 4;
constexpr int kRuns = kMostHeadDim / 32;

/// A head of a row: element lane + 32 r of it is number r of a lane; zeros beyond head_dim.
class Head {
 public:
  __device__ Head(const float* from, int dim, int lane) : dim_(dim), lane_(lane) {
#pragma unroll
    for (int r = 0; r < kRuns; ++r) numbers_[r] = lane + 32 * r < dim ? from[lane + 32 * r] : 0.0f;
  }

  /// The runs' squares are folded by halves and added in order, as rms_norm has it for rows so short.
  __device__ void norm(const float* weight, float epsilon) {
    float total = 0.0f;
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      float sum = numbers_[r] * numbers_[r];
      for (int distance = 16; distance > 0; distance /= 2) sum = sum + __shfl_xor_sync(~0u, sum, distance);
      total = total + sum;
    }
    const float factor = 1.0f / sqrtf(total / static_cast<float>(dim_) + epsilon);
    for_each([&](int d, float& number) { number = number * factor * weight[d]; });
  }

  /// Element i turns with element i + half. scratch [kMostHeadDim]: the warp's own, shared.
  __device__ void rotate(const float* angles, int half, float* scratch) {
    for_each([&](int d, float& number) { scratch[d] = number; });
    __syncwarp();
    for_each([&](int d, float& number) {
      if (d < half) number = fmaf(number, angles[d], -(scratch[d + half] * angles[half + d]));
      if (d >= half && d < 2 * half) number = fmaf(number, angles[d - half], scratch[d - half] * angles[d]);
    });
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
    for (int r = 0; r < kRuns; ++r)
      if (lane_ + 32 * r < dim_) visit(lane_ + 32 * r, numbers_[r]);
  }
  float numbers_[kRuns];
  int dim_, lane_;
};

/// One warp a head, of queries, keys and values one after the other; rows in blockIdx.y.
__global__ void __launch_bounds__(32 * kWarps) prepare_heads_kernel(HeadArguments args) {
  LLM_TP_SHARED(float, scratch, [kWarps * kMostHeadDim]);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int head = static_cast<int>(blockIdx.x) * kWarps + warp;
  const int first = args.parts[0].heads, second = first + args.parts[1].heads;
  if (head >= second + args.parts[2].heads) return;
  const HeadRows part = head < first ? args.parts[0] : head < second ? args.parts[1] : args.parts[2];
  head -= head < first ? 0 : head < second ? first : second;

  float* const at = part.rows.data + blockIdx.y * part.rows.stride + std::int64_t{head} * args.head_dim;
  Head numbers(at, args.head_dim, lane);
  if (part.norm != nullptr) numbers.norm(part.norm, args.epsilon);
  if (part.rotates)
    numbers.rotate(args.cos_sin.data + blockIdx.y * args.cos_sin.stride,
                   static_cast<int>(args.cos_sin.columns / 2), scratch + warp * kMostHeadDim);
  if (part.norm != nullptr || part.rotates) numbers.store(at);
  if (part.kept >= 0) {
    const std::int32_t slot = args.slots[blockIdx.y];
    numbers.store(cache_vector(args.cache, slot / args.cache.page_tokens, args.layer, part.kept, head,
                               slot % args.cache.page_tokens));
  }
}

}  // namespace

void prepare_heads(cudaStream_t stream, const HeadArguments& args, std::int64_t rows) {
  const int heads = args.parts[0].heads + args.parts[1].heads + args.parts[2].heads;
  const dim3 grid(blocks_for(heads, kWarps), static_cast<unsigned>(rows));
  LLM_TP_LAUNCH(prepare_heads_kernel, grid, 32 * kWarps, 0, stream, args);
}

}  // namespace llm_tp

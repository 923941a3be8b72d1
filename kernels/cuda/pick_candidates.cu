// The best of a row's scores: a bound that enough of them reach and few more, from the maxima of segments;
// those that reach it, sorted. All comparisons: the outcome does not depend on how many threads there are.
#include <algorithm>

#include "kernels/cuda/read_scores.cuh"

namespace llm_tp {
namespace {

constexpr int kThreads = 256;
constexpr std::int32_t kMostWorkingRoom = working_room(ScoreReader::kMostCandidates);

/// Unsigned numbers in the order of floats: not for NaN; -0 just below 0.
__device__ inline std::uint32_t order_of(float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline float float_of(std::uint32_t order) {
  const std::uint32_t bits = order >> 31 != 0 ? order & 0x7fffffffu : ~order;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/// Over the block; all threads call it.
__device__ inline int sum_of_threads(int own) {
  LLM_TP_SHARED(int, partial, [kThreads / 32]);
  for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(~0u, own, distance);
  __syncthreads();  // the sums before were read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = own;
  __syncthreads();
  int total = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) total += partial[warp];
  return total;
}
__device__ inline float largest_of_threads(float own) {
  LLM_TP_SHARED(float, partial, [kThreads / 32]);
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(~0u, own, distance);
    own = other > own ? other : own;
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = own;
  __syncthreads();
  for (int warp = 0; warp < kThreads / 32; ++warp) own = partial[warp] > own ? partial[warp] : own;
  return own;
}

/// A bound that `wanted` of the values reach, and no more than a quarter above that where they are not equal;
/// where fewer are allowed, one that all of those reach. Bisection over the order of floats.
__device__ inline float bound_of(const float* values, std::int64_t count, std::int32_t wanted) {
  float largest = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
    largest = values[i] > largest ? values[i] : largest;
  largest = largest_of_threads(largest);
  std::uint32_t low = order_of(-INFINITY) + 1, end = order_of(largest) + 1;
  if (wanted == 1 && largest > -INFINITY) return largest;
  while (end - low > 1) {
    const std::uint32_t middle = low + (end - low) / 2;
    const float bound = float_of(middle);
    int reach = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) reach += values[i] >= bound ? 1 : 0;
    reach = sum_of_threads(reach);
    if (reach < wanted) {
      end = middle;
    } else {
      low = middle;
      if (reach <= wanted + wanted / 4 + 7) break;
    }
  }
  return float_of(low);
}

/// keys [0, size), a power of two, largest first: Batcher's bitonic sort. Begins with a barrier and ends with
/// one.
__device__ inline void sort(std::uint64_t* keys, std::int32_t size) {
  for (std::int32_t length = 2; length <= size; length *= 2)
    for (std::int32_t distance = length / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (auto i = static_cast<std::int32_t>(threadIdx.x); i < size / 2; i += kThreads) {
        const std::int32_t low = (i & ~(distance - 1)) * 2 | (i & (distance - 1)), high = low + distance;
        const std::uint64_t a = keys[low], b = keys[high];
        if ((a < b) == ((low & length) == 0)) keys[low] = b, keys[high] = a;
      }
    }
  __syncthreads();
}

/// The list of a row's best, with every tie of the last of them, and to *found their number; -1 where there
/// are too many of them.
__device__ inline void pick(const ReadArguments& args, const float* scores, const float* logits,
                            const float* maxima, const DeviceList& list, std::int32_t* found) {
  const std::int32_t wanted = list.wanted, room = list.room;
  Candidate* const out = args.candidates + list.first;
  LLM_TP_DYNAMIC_SHARED(memory);
  LLM_TP_SHARED(std::int32_t, reached, [1]);
  auto* const keys = reinterpret_cast<std::uint64_t*>(memory);
  if (threadIdx.x == 0) reached[0] = 0;
  // Where segments are not many more than what is wanted, their maxima would give too low a bound.
  const std::int64_t segments = segments_of(args.columns);
  const bool by_segments = segments >= 2 * wanted;
  const float* const values = by_segments ? maxima : scores;
  const std::int64_t count = by_segments ? segments : args.columns, width = by_segments ? kSegment : 1;
  const float bound = bound_of(values, count, wanted);
  for (std::int64_t s = threadIdx.x; s < count; s += kThreads) {
    if (!(values[s] >= bound)) continue;
    for (std::int64_t i = s * width; i < (s + 1) * width && i < args.columns; ++i) {
      if (!(scores[i] >= bound)) continue;
      const std::int32_t at = atomicAdd(&reached[0], 1);
      // Equal scores by ascending number; -0 and 0 are equal.
      if (at < room)
        keys[at] = std::uint64_t{order_of(scores[i] + 0.0f)} << 32 | (0xffffffffu - static_cast<unsigned>(i));
    }
  }
  __syncthreads();
  const std::int32_t size = reached[0];
  if (size > room || size == 0) {
    if (threadIdx.x == 0) *found = size == 0 ? 0 : -1;
    return;
  }
  std::int32_t padded = 1;
  while (padded < size) padded *= 2;
  for (std::int32_t i = size + static_cast<std::int32_t>(threadIdx.x); i < padded; i += kThreads) keys[i] = 0;
  sort(keys, padded);
  const auto stays = [&](std::int32_t i) {
    return i < size && (i < wanted || keys[i] >> 32 == keys[wanted - 1] >> 32);
  };
  for (auto i = static_cast<std::int32_t>(threadIdx.x); stays(i); i += kThreads) {
    const std::uint32_t column = 0xffffffffu - static_cast<std::uint32_t>(keys[i]);
    if (i < list_room(wanted))
      out[i] = {args.first + static_cast<TokenId>(column), scores[column], logits[column]};
    if (!stays(i + 1)) *found = i < list_room(wanted) ? i + 1 : -1;
  }
}

/// One warp.
__device__ inline void end_row(const ReadArguments& args, const DeviceQuestion& question, const float* logits,
                               RowEnd& end) {
  RunState state = nothing_drawn();
  for (auto run = static_cast<std::int32_t>(threadIdx.x); run < args.runs; run += 32) {
    const RunState& other = args.states[static_cast<std::int64_t>(blockIdx.x) * args.runs + run];
    join(state, other);
    state.has_nan = state.has_nan || other.has_nan;
  }
  join_lanes(state);
  const bool has_nan = __any_sync(~0u, state.has_nan ? 1 : 0) != 0;
  if (threadIdx.x > 0) return;
  end.key = state.key;
  end.second_key = state.second_key;
  end.drawn = {state.id, state.score, state.id >= 0 ? logits[state.id - args.first] : 0.0f};
  end.has_nan = has_nan ? 1 : 0;
  const std::int64_t target = question.target - args.first;
  end.target_logit = target >= 0 && target < args.columns ? logits[target] : 0.0f;
}

/// One block a question, in blockIdx.x, and for its list by logit, its list by score, and the rest.
__global__ void __launch_bounds__(kThreads) pick_candidates_kernel(ReadArguments args) {
  const unsigned number = blockIdx.x;
  const DeviceQuestion& question = args.questions[number];
  const float* const logits = logits_of(args, number);
  RowEnd& end = args.ends[number];
  if (blockIdx.y == 2) {
    if (threadIdx.x < 32) end_row(args, question, logits, end);
  } else if (blockIdx.y == 0 && question.top.wanted > 0) {
    pick(args, logits, logits, maxima_of(args, number, false), question.top, &end.tops);
  } else if (blockIdx.y == 1 && question.best.wanted > 0) {
    pick(args, scores_of(args, number), logits, maxima_of(args, number, question.adjusts), question.best,
         &end.bests);
  }
}

}  // namespace

void pick_candidates(cudaStream_t stream, const ReadArguments& args, unsigned questions,
                     std::int32_t most_room) {
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(pick_candidates_kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kMostWorkingRoom * static_cast<int>(sizeof(std::uint64_t))),
             "cudaFuncSetAttribute");
  LLM_TP_LAUNCH(pick_candidates_kernel, dim3(questions, 3), kThreads,
                static_cast<std::size_t>(most_room) * sizeof(std::uint64_t), stream, args);
}

}  // namespace llm_tp

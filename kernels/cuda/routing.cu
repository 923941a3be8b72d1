#include "kernels/cuda/routing.h"

#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/exact_exp.h"

namespace llm_tp {
namespace {

constexpr int kThreads = 512;

/// Larger for larger logits, and of equal ones for lower experts. NaN is below all.
__device__ inline unsigned long long order_of(float logit, int expert) {
  logit = logit + 0.0f;  // -0 is 0
  std::uint32_t bits;
  memcpy(&bits, &logit, 4);
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  if (logit != logit) bits = 0;
  return static_cast<unsigned long long>(bits) << 32 | ~static_cast<std::uint32_t>(expert);
}

/// One token's experts and their weights, by one warp. Lane l has experts l, l + 32, ...
__device__ inline void choose(const DeviceRouting& routing, const float* logits, const RouterRule& rule,
                              std::int64_t token, int lane) {
  std::uint32_t taken = 0;  // bit j: of the lane's experts number j
  double largest = 0.0;
  for (int i = 0; i < rule.chosen; ++i) {
    unsigned long long best = 0;
    for (int j = 0; lane + 32 * j < rule.experts; ++j) {
      const unsigned long long order = order_of(logits[lane + 32 * j], lane + 32 * j);
      if ((taken >> j & 1u) == 0 && order > best) best = order;
    }
    for (int distance = 16; distance > 0; distance /= 2) {
      const unsigned long long other = __shfl_xor_sync(~0u, best, distance);
      if (other > best) best = other;
    }
    const auto expert = static_cast<int>(~static_cast<std::uint32_t>(best));
    if (i == 0) largest = logits[expert];
    if (expert % 32 == lane) taken |= 1u << expert / 32;
  }
  const auto exponential = [&](int expert) { return exact_exp(logits[expert] - largest); };

  double total = 0.0;
  for (int j = 0; 32 * j < rule.experts; ++j) {
    const int expert = lane + 32 * j;
    const bool counts = expert < rule.experts && (!rule.normalise || (taken >> j & 1u) != 0);
    const std::uint32_t lanes = __ballot_sync(~0u, counts);
    const double term = counts ? exponential(expert) : 0.0;
    for (int l = 0; l < 32; ++l) {
      const double other = __shfl_sync(~0u, term, l);
      if ((lanes >> l & 1u) != 0) total = total + other;
    }
  }
  std::int64_t place = token * rule.chosen;
  for (int j = 0; 32 * j < rule.experts; ++j) {
    const bool mine = (taken >> j & 1u) != 0;
    const std::uint32_t lanes = __ballot_sync(~0u, mine);
    if (mine) {
      const std::int64_t own = place + __popc(lanes & ((1u << lane) - 1u));
      routing.choices[own] = lane + 32 * j;
      routing.choice_weights[own] = static_cast<float>(exponential(lane + 32 * j) / total);
    }
    place += __popc(lanes);
  }
}

/// One block: its warps choose for a token each, then its threads list the pairs of an expert each.
__global__ void __launch_bounds__(kThreads)
    route_kernel(DeviceRouting routing, DeviceRows logits, RouterRule rule, int tile_count) {
  LLM_TP_SHARED(int, begins, [kMostExperts + 1]);
  LLM_TP_SHARED(int, first_tiles, [kMostExperts + 1]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  for (std::int64_t token = thread / 32; token < logits.rows; token += kThreads / 32)
    choose(routing, logits.data + token * logits.stride, rule, token, lane);
  __syncthreads();

  const int pairs = static_cast<int>(logits.rows) * rule.chosen;
  for (int expert = thread; expert < rule.experts; expert += kThreads) {
    int count = 0;
    for (int place = 0; place < pairs; ++place) count += routing.choices[place] == expert ? 1 : 0;
    begins[expert + 1] = count;
    first_tiles[expert + 1] = (count + 7) / 8;
  }
  __syncthreads();
  if (thread == 0) {
    begins[0] = first_tiles[0] = 0;
    for (int expert = 0; expert < rule.experts; ++expert) {
      begins[expert + 1] += begins[expert];
      first_tiles[expert + 1] += first_tiles[expert];
    }
  }
  __syncthreads();

  for (int expert = thread; expert < rule.experts; expert += kThreads) {
    int pair = begins[expert];
    const int end = begins[expert + 1];
    for (int tile = first_tiles[expert]; tile < first_tiles[expert + 1]; ++tile) {
      const int first = pair + (tile - first_tiles[expert]) * 8;
      routing.tiles[tile] = {expert, first, end - first < 8 ? end - first : 8};
    }
    for (int place = 0; pair < end; ++place)
      if (routing.choices[place] == expert) {
        routing.tokens[pair] = place / rule.chosen;
        routing.weights[pair] = routing.choice_weights[place];
        routing.places[place] = pair++;
      }
  }
  for (int i = thread; i <= rule.experts; i += kThreads) routing.begins[i] = begins[i];
  for (int tile = first_tiles[rule.experts] + thread; tile < tile_count; tile += kThreads)
    routing.tiles[tile] = {0, 0, 0};
}

}  // namespace

std::int64_t most_pair_tiles(std::int64_t pairs, std::int64_t experts) {
  // Most experts that have a pair have one alone.
  const std::int64_t busy = std::min(pairs, experts);
  return busy + (pairs - busy) / 8;
}

void route(cudaStream_t stream, const DeviceRouting& routing, DeviceRows logits, const RouterRule& rule) {
  const auto tiles = static_cast<int>(most_pair_tiles(logits.rows * rule.chosen, rule.experts));
  LLM_TP_LAUNCH(route_kernel, dim3(1), kThreads, 0, stream, routing, logits, rule, tiles);
}

}  // namespace llm_tp

#pragma once
#include <optional>

#include "kernels/cuda/linear.h"
#include "kernels/routing.h"

namespace llm_tp {

constexpr int kMostExperts = 1024;  // of a layer, that route() takes

/// Pairs first, first + 1, ... of the routing, which are of one expert; at most eight. None: there is no such
/// tile in this step.
struct PairTile {
  std::int32_t expert = 0, first = 0, count = 0;
};

/// RoutingTables in device memory, and what products and sums of a step read besides.
struct DeviceRouting {
  std::int32_t* begins = nullptr;   // [experts + 1]
  std::int32_t* tokens = nullptr;   // [S]
  float* weights = nullptr;         // [S]
  std::int32_t* places = nullptr;   // [T, chosen]: the pairs of a token, in order of expert
  std::int32_t* choices = nullptr;  // [T, chosen]: their experts
  float* choice_weights = nullptr;  // [T, chosen]
  PairTile* tiles = nullptr;        // [most_pair_tiles(S, experts)], in order of pairs
};

/// As many tiles as so many pairs can need, however they are spread.
std::int64_t most_pair_tiles(std::int64_t pairs, std::int64_t experts);

/// route_on_host() of logits [T, experts], which is not empty: the same choices, order and bits.
void route(cudaStream_t stream, const DeviceRouting& routing, DeviceRows logits, const RouterRule& rule);

/// The same matrix of several experts: of one spec, so that they differ in where their tiles lie alone.
struct ExpertWeights {
  DeviceWeight weight;                          // of one of them
  const unsigned char* const* tiles = nullptr;  // [count], in device memory
  std::int32_t first_expert = 0, count = 0;     // of the layer's
};

/// out [roots][S, rows]: for each pair of these experts linear(), or linear_gated() where `gate` says by
/// what, of row tokens[pair] of the operand, or of row `pair` where tokens is null. Eight pairs at
/// most are multiplied together, each as by linear() of few tokens, to the bit. The operand has three
/// parts.
void multiply_experts(cudaStream_t stream, DeviceRows out, std::int64_t root_stride, DeviceOperand operand,
                      const ExpertWeights& experts, const DeviceRouting& routing, std::int64_t tiles,
                      const std::int32_t* tokens, std::optional<Activation> gate,
                      std::size_t shared_bytes_at_most);

/// out [T,H] = the sums of rows of x [S,H] by their weights, by fma from 0 on in order of expert.
void mix_rows(cudaStream_t stream, DeviceRows out, DeviceRows x, const DeviceRouting& routing, int chosen);
/// out [T,H] = fma(x, sigmoids(gates [T,1]), out).
void add_gated(cudaStream_t stream, DeviceRows out, DeviceRows x, DeviceRows gates);

}  // namespace llm_tp

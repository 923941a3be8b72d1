#pragma once
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/peer_sums.h"
#include "kernels/cuda/ptx.cuh"

namespace llm_tp {

// What lies in a mailbox, and how the blocks of kernels use it (peer_sums.h says what for).

constexpr int kPeerThreads = 256;
constexpr int kPeerBlocks = 32;          // at most
constexpr int kPhases = 2;               // what ranks send each other: roots, then sums of slices
constexpr std::int64_t kRoom = 8 << 10;  // numbers of one rank for one block and phase
constexpr int kLooksBetween = 256;       // at a flag, before one at the host's word
constexpr int kMostNormRows = 64;        // of a sum with a norm

// A mailbox: counts [block] of this rank's own kernels; for sums with norms how many blocks of a row have
// come [block], and the sums of their squares [row][warp]; flags [phase][block][rank]; room
// [turn][block][phase][rank][kRoom].
constexpr std::size_t kArrivalsAt = kPeerBlocks * sizeof(std::uint32_t);
constexpr std::size_t kSquaresAt = 2 * kArrivalsAt;
constexpr std::size_t kFlagsAt = kSquaresAt + kMostNormRows * kNormWarps * sizeof(float);
constexpr std::size_t kRoomAt = kFlagsAt + kPhases * kPeerBlocks * kMostPeers * sizeof(std::uint32_t);
static_assert(kSquaresAt % 256 == 0 && kFlagsAt % 256 == 0 && kRoomAt % 256 == 0);

__device__ inline std::uint32_t* count_of_block(const PeerGroup& group) {
  return reinterpret_cast<std::uint32_t*>(group.mail[group.rank]) + blockIdx.x;
}
/// How many blocks of these rows have come, before one of them was the last.
__device__ inline std::uint32_t* arrivals(const PeerGroup& group, int rows) {
  return reinterpret_cast<std::uint32_t*>(group.mail[group.rank] + kArrivalsAt) + rows;
}
/// [row][warp]
__device__ inline float* squares_of_rows(const PeerGroup& group) {
  return reinterpret_cast<float*>(group.mail[group.rank] + kSquaresAt);
}
/// Where rank `from` says to rank `to` that it has sent.
__device__ inline std::uint32_t* flag(const PeerGroup& group, int to, int phase, int from) {
  return reinterpret_cast<std::uint32_t*>(group.mail[to] + kFlagsAt) +
         (phase * kPeerBlocks + static_cast<int>(blockIdx.x)) * kMostPeers + from;
}
/// What rank `from` sends to this block of rank `to`.
template <class Number>
__device__ inline Number* room(const PeerGroup& group, int to, std::uint32_t count, int phase, int from) {
  const std::int64_t turn = count & 1;
  const std::int64_t place =
      (((turn * kPeerBlocks + blockIdx.x) * kPhases + phase) * group.world + from) * kRoom;
  return reinterpret_cast<Number*>(reinterpret_cast<float*>(group.mail[to] + kRoomAt) + place);
}

/// Of all threads of the block: what they wrote for other ranks is said to be there, and what those wrote for
/// this block is there.
__device__ inline void meet(const PeerGroup& group, std::uint32_t count, int phase) {
  __syncthreads();
  const int peer = static_cast<int>(threadIdx.x);
  if (peer < group.world) {
    store_release(flag(group, peer, phase, group.rank), count);
    const std::uint32_t* const theirs = flag(group, group.rank, phase, peer);
    // Counts wrap around.
    for (int looks = 1; static_cast<std::int32_t>(load_acquire(theirs) - count) < 0; ++looks) {
      if (looks % kLooksBetween == 0 && load_acquire(group.stop) != 0) break;
      let_others_run();
    }
  }
  __syncthreads();
}

/// How many numbers one load takes.
template <class Number>
constexpr int kWidth = sizeof(Number) / sizeof(float);

__device__ inline float plus(float a, float b) { return a + b; }
__device__ inline float4 plus(float4 a, float4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }

/// Other ranks in an order of this rank's own, so that not all write to the same one at a time.
__device__ inline int peer_at(const PeerGroup& group, int step) { return (group.rank + step) % group.world; }

/// Number i of the sum of the roots that came, each of `size` numbers.
template <class Number>
__device__ inline Number sum_of_roots(const PeerGroup& group, std::uint32_t count, const PeerTree& tree,
                                      int size, int i) {
  constexpr int kRankRoom = static_cast<int>(kRoom) / kWidth<Number>;
  Number* const first = room<Number>(group, group.rank, count, 0, 0) + i;
  const auto root = [&](int r) { return first + tree.owner[r] * kRankRoom + tree.place[r] * size; };
  for (int a = 0; a < tree.additions; ++a) {
    Number* const into = root(tree.into[a]);
    *into = plus(*into, *root(tree.from[a]));
  }
  return *root(0);
}

/// Loads and stores of float4 reach all of them.
template <class... Pointers>
bool are_wide(Pointers... at) {
  return ((reinterpret_cast<std::uintptr_t>(at) % sizeof(float4) == 0) && ...);
}

}  // namespace llm_tp

#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/ops.h"

namespace llm_tp {

// Sums between GPUs that write into each other's memory. Every rank has a mailbox, which all ranks of the
// group have mapped. A kernel writes what it has for another rank into that rank's mailbox, then says so by a
// flag there; it waits for the flags of all ranks in its own mailbox and adds what came.
//
// Each block of a kernel has flags, a count of its kernels and room of its own, the room twice, in turn: a
// rank that has seen the flags of kernel k knows that all ranks have ended kernel k - 1, so it may write over
// what they read there. All arguments are the same from call to call of the same shape, so the kernels may
// stand in a graph. All ranks make the same calls in the same order.

constexpr int kMostPeers = 8;

/// This rank's view of the group, by value.
struct PeerGroup {
  int rank = 0, world = 1;
  std::byte* mail[kMostPeers] = {};     // the mailbox of each rank, as it is mapped here; zeroed at first
  const std::uint32_t* stop = nullptr;  // of the host, pinned: once it is not 0, kernels end with any result
};
std::size_t mailbox_bytes(int world);

/// The roots of all ranks, and what is done with them (base/sum_tree.h), by value.
struct PeerTree {
  static constexpr int kMostRoots = 128;
  int own = 0;        // roots of this rank
  int most = 0;       // of any rank
  int additions = 0;  // root into = root into + root from; the sum ends in root 0
  std::uint8_t owner[kMostRoots], place[kMostRoots];  // of each root: its rank, and which of its roots it is
  std::uint8_t into[kMostRoots], from[kMostRoots];
};

/// Numbers that one call can take, a multiple of 4.
std::int64_t peer_sum_whole_limit(const PeerTree& tree);
std::int64_t peer_sum_slices_limit(const PeerTree& tree, int world);
std::int64_t peer_rows_limit();

/// out [elements] = the sum of the tree; mine: this rank's roots, `stride` apart, only read. Every rank gets
/// all roots. out may not overlap mine.
void peer_sum_whole(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree, float* out,
                    const float* mine, std::int64_t stride, std::int64_t elements);
/// The same sum, with the same bits; every rank adds a slice of the elements and sends it to all.
void peer_sum_slices(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree, float* out,
                     const float* mine, std::int64_t stride, std::int64_t elements);
/// add_norm (ops.h) of the same sum in one kernel, with the same bits; mine: roots of the rows of h, one
/// after the other. Every rank gets all roots, sums of few rows.
void peer_add_norm(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree,
                   const DeviceResidualNorm& norm, const float* mine);
bool has_room_for_norm(const PeerTree& tree, std::int64_t rows, std::int64_t columns);
/// Numbers [begin, end) of the rows, counted one row after the other: row t of out is the owner's row t of
/// mine; owners [rows] in device memory. out may be mine.
void peer_rows(cudaStream_t stream, const PeerGroup& group, DeviceRows out, DeviceRows mine,
               const std::int32_t* owners, std::int64_t begin, std::int64_t end);

}  // namespace llm_tp

#include "kernels/cuda/peer_sums.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/peer_mail.cuh"

namespace llm_tp {
namespace {

// What one kernel takes fits in 32 bits, whose divisions are cheap.
struct Part {
  int begin, size;
};
__device__ Part even_part(int count, int part, int parts) {
  const int begin = count * part / parts;
  return {begin, count * (part + 1) / parts - begin};
}
__device__ Part part_of_block(Part all) {
  const Part part = even_part(all.size, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
  return {all.begin + part.begin, part.size};
}

template <class Number>
__device__ void send_roots(const PeerGroup& group, int peer, std::uint32_t count, const PeerTree& tree,
                           const float* mine, std::int64_t stride, Part part) {
  Number* const to = room<Number>(group, peer, count, 0, group.rank);
  for (int root = 0; root < tree.own; ++root) {
    const Number* const from = reinterpret_cast<const Number*>(mine + root * stride) + part.begin;
    for (int i = static_cast<int>(threadIdx.x); i < part.size; i += kPeerThreads)
      to[root * part.size + i] = from[i];
  }
}

template <class Number>
__global__ void __launch_bounds__(kPeerThreads)
    peer_sum_whole_kernel(const __grid_constant__ PeerGroup group, const __grid_constant__ PeerTree tree,
                          float* out, const float* mine, std::int64_t stride, int elements) {
  const std::uint32_t count = *count_of_block(group) + 1;
  const Part part = part_of_block({0, elements / kWidth<Number>});
  for (int step = 0; step < group.world; ++step)
    send_roots<Number>(group, peer_at(group, step), count, tree, mine, stride, part);
  meet(group, count, 0);
  Number* const sums = reinterpret_cast<Number*>(out) + part.begin;
  for (int i = static_cast<int>(threadIdx.x); i < part.size; i += kPeerThreads)
    sums[i] = sum_of_roots<Number>(group, count, tree, part.size, i);
  if (threadIdx.x == 0) *count_of_block(group) = count;
}

template <class Number>
__global__ void __launch_bounds__(kPeerThreads)
    peer_sum_slices_kernel(const __grid_constant__ PeerGroup group, const __grid_constant__ PeerTree tree,
                           float* out, const float* mine, std::int64_t stride, int elements) {
  const std::uint32_t count = *count_of_block(group) + 1;
  const int numbers = elements / kWidth<Number>;
  const auto part_of = [&](int rank) { return part_of_block(even_part(numbers, rank, group.world)); };
  for (int step = 0; step < group.world; ++step) {
    const int peer = peer_at(group, step);
    send_roots<Number>(group, peer, count, tree, mine, stride, part_of(peer));
  }
  meet(group, count, 0);
  const Part own = part_of(group.rank);
  for (int i = static_cast<int>(threadIdx.x); i < own.size; i += kPeerThreads) {
    const Number sum = sum_of_roots<Number>(group, count, tree, own.size, i);
    for (int step = 0; step < group.world; ++step)
      room<Number>(group, peer_at(group, step), count, 1, group.rank)[i] = sum;
  }
  meet(group, count, 1);
  for (int peer = 0; peer < group.world; ++peer) {
    const Part part = part_of(peer);
    const Number* const from = room<Number>(group, group.rank, count, 1, peer);
    Number* const sums = reinterpret_cast<Number*>(out) + part.begin;
    for (int i = static_cast<int>(threadIdx.x); i < part.size; i += kPeerThreads) sums[i] = from[i];
  }
  if (threadIdx.x == 0) *count_of_block(group) = count;
}

__global__ void __launch_bounds__(kPeerThreads)
    peer_rows_kernel(const __grid_constant__ PeerGroup group, DeviceRows out, DeviceRows mine,
                     const std::int32_t* owners, int begin, int end) {
  const std::uint32_t count = *count_of_block(group) + 1;
  const Part part = part_of_block({begin, end - begin});
  const int columns = static_cast<int>(mine.columns);
  for (int i = static_cast<int>(threadIdx.x); i < part.size; i += kPeerThreads) {
    const int row = (part.begin + i) / columns, column = (part.begin + i) % columns;
    if (owners[row] != group.rank) continue;
    const float number = mine.data[row * mine.stride + column];
    for (int step = 0; step < group.world; ++step)
      room<float>(group, peer_at(group, step), count, 0, group.rank)[i] = number;
  }
  meet(group, count, 0);
  for (int i = static_cast<int>(threadIdx.x); i < part.size; i += kPeerThreads) {
    const int row = (part.begin + i) / columns, column = (part.begin + i) % columns;
    out.data[row * out.stride + column] = room<float>(group, group.rank, count, 0, owners[row])[i];
  }
  if (threadIdx.x == 0) *count_of_block(group) = count;
}

/// Numbers of a block's part, a multiple of 4, so that those of all roots have room.
std::int64_t most_of_block(const PeerTree& tree) { return kRoom / tree.most / 4 * 4; }

/// As many blocks as keep the threads of each busy once, and give each no more than it has room for.
unsigned blocks_of(std::int64_t numbers, std::int64_t width, std::int64_t room) {
  return blocks_for(numbers, std::min(kPeerThreads * width, room));
}

bool is_wide(const float* out, const float* mine, std::int64_t stride, std::int64_t elements) {
  return are_wide(out, mine) && stride % 4 == 0 && elements % 4 == 0;
}

}  // namespace

std::size_t mailbox_bytes(int world) {
  LLM_TP_CHECK(world >= 1 && world <= kMostPeers, "more ranks than mailboxes have flags for");
  return kRoomAt +
         std::size_t{2} * kPeerBlocks * kPhases * static_cast<std::size_t>(world) * kRoom * sizeof(float);
}

std::int64_t peer_sum_whole_limit(const PeerTree& tree) { return kPeerBlocks * most_of_block(tree); }
std::int64_t peer_sum_slices_limit(const PeerTree& tree, int world) {
  return world * kPeerBlocks * most_of_block(tree);
}
std::int64_t peer_rows_limit() { return kPeerBlocks * kRoom; }

void peer_sum_whole(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree, float* out,
                    const float* mine, std::int64_t stride, std::int64_t elements) {
  LLM_TP_CHECK(elements <= peer_sum_whole_limit(tree), "a sum that mailboxes have no room for");
  const bool wide = is_wide(out, mine, stride, elements);
  const unsigned blocks =
      std::min<unsigned>(kPeerBlocks, blocks_of(elements, wide ? 4 : 1, most_of_block(tree)));
  if (wide)
    LLM_TP_LAUNCH(peer_sum_whole_kernel<float4>, blocks, kPeerThreads, 0, stream, group, tree, out, mine,
                  stride, static_cast<int>(elements));
  else
    LLM_TP_LAUNCH(peer_sum_whole_kernel<float>, blocks, kPeerThreads, 0, stream, group, tree, out, mine,
                  stride, static_cast<int>(elements));
}

void peer_sum_slices(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree, float* out,
                     const float* mine, std::int64_t stride, std::int64_t elements) {
  LLM_TP_CHECK(elements <= peer_sum_slices_limit(tree, group.world), "a sum that mailboxes have no room for");
  const bool wide = is_wide(out, mine, stride, elements);
  const std::int64_t slice = (elements + group.world - 1) / group.world;
  const unsigned blocks =
      std::min<unsigned>(kPeerBlocks, blocks_of(slice, wide ? 4 : 1, most_of_block(tree)));
  if (wide)
    LLM_TP_LAUNCH(peer_sum_slices_kernel<float4>, blocks, kPeerThreads, 0, stream, group, tree, out, mine,
                  stride, static_cast<int>(elements));
  else
    LLM_TP_LAUNCH(peer_sum_slices_kernel<float>, blocks, kPeerThreads, 0, stream, group, tree, out, mine,
                  stride, static_cast<int>(elements));
}

void peer_rows(cudaStream_t stream, const PeerGroup& group, DeviceRows out, DeviceRows mine,
               const std::int32_t* owners, std::int64_t begin, std::int64_t end) {
  LLM_TP_CHECK(end - begin <= peer_rows_limit() && out.rows * out.columns <= INT32_MAX,
               "rows that mailboxes have no room for");
  const unsigned blocks = std::min<unsigned>(kPeerBlocks, blocks_for(end - begin, kPeerThreads));
  LLM_TP_LAUNCH(peer_rows_kernel, blocks, kPeerThreads, 0, stream, group, out, mine, owners,
                static_cast<int>(begin), static_cast<int>(end));
}

}  // namespace llm_tp

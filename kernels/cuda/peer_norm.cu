#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/peer_mail.cuh"
#include "kernels/cuda/residual.cuh"

namespace llm_tp {
namespace {

/// What one block adds: of every 256 columns the same run, whose warps RMSNorm sums one by one, so that no
/// warp's squares are of two blocks; of every groups-th row.
struct OwnNumbers {
  int part;                 // of a row
  int first, groups, rows;  // the first row, then every groups-th
  int run, runs;            // columns of a run, runs of a row; the last may lie beyond the columns
  /// Numbers of all its rows, one after the other, each run by run.
  __device__ int size() const { return rows * runs * run; }
  __device__ int row(int i) const { return first + i / (runs * run) * groups; }
  __device__ int column(int i) const { return i / run % runs * kNormThreads + part * run + i % run; }
};

__device__ OwnNumbers own_numbers(int parts, std::int64_t rows, int columns) {
  OwnNumbers own;
  own.part = static_cast<int>(blockIdx.x) % parts;
  own.first = static_cast<int>(blockIdx.x) / parts;
  own.groups = static_cast<int>(gridDim.x) / parts;
  own.rows = (static_cast<int>(rows) - own.first + own.groups - 1) / own.groups;
  own.run = kNormThreads / parts;
  own.runs = (columns + kNormThreads - 1) / kNormThreads;
  return own;
}

/// Calls visit(i, row, column) for the first of kWidth<Number> numbers each.
template <class Number, class Visit>
__device__ void for_own(const OwnNumbers& own, int columns, const Visit& visit) {
  constexpr int kStep = kPeerThreads * kWidth<Number>;
  for (int i = static_cast<int>(threadIdx.x) * kWidth<Number>; i < own.size(); i += kStep)
    if (own.column(i) < columns) visit(i, own.row(i), own.column(i));
}

template <class Number>
__device__ Number& number_at(float* at) {
  return *reinterpret_cast<Number*>(at);
}

__device__ float residual_sums(float h, float x, const DeviceResidualNorm& norm, int column) {
  return residual_sum(h, x, norm.bias, norm.factor, column);
}
__device__ float4 residual_sums(float4 h, float4 x, const DeviceResidualNorm& norm, int column) {
  return {residual_sums(h.x, x.x, norm, column), residual_sums(h.y, x.y, norm, column + 1),
          residual_sums(h.z, x.z, norm, column + 2), residual_sums(h.w, x.w, norm, column + 3)};
}

/// The sums of squares of this block's warps of RMSNorm; values: its numbers.
__device__ void sum_squares(float* of_rows, const float* values, const OwnNumbers& own, int columns) {
  // A warp has one row: runs are of whole warps.
  for (int chain = static_cast<int>(threadIdx.x); chain < own.rows * own.run; chain += kPeerThreads) {
    const int row = chain / own.run, place = chain % own.run;
    float sum = 0.0f;
    for (int r = 0; r < own.runs; ++r) {
      if (r * kNormThreads + own.part * own.run + place >= columns) break;
      const float value = values[(row * own.runs + r) * own.run + place];
      sum = fmaf(value, value, sum);
    }
    sum = fold_squares(sum);
    if (threadIdx.x % 32 == 0)
      of_rows[(own.first + row * own.groups) * kNormWarps + (own.part * own.run + place) / 32] = sum;
  }
}

/// Every block adds and squares its numbers; the last block of a row to come norms the row.
template <class Number>
__global__ void __launch_bounds__(kPeerThreads)
    peer_add_norm_kernel(const __grid_constant__ PeerGroup group, const __grid_constant__ PeerTree tree,
                         const __grid_constant__ DeviceResidualNorm norm, const float* mine,
                         std::int64_t stride, int parts) {
  LLM_TP_DYNAMIC_SHARED(shared);
  LLM_TP_SHARED(int, is_last, [1]);
  auto* const values = reinterpret_cast<float*>(shared);
  const std::uint32_t count = *count_of_block(group) + 1;
  const auto columns = static_cast<int>(norm.h.columns);
  const OwnNumbers own = own_numbers(parts, norm.h.rows, columns);
  for (int step = 0; step < group.world; ++step) {
    float* const to = room<float>(group, peer_at(group, step), count, 0, group.rank);
    for (int root = 0; root < tree.own; ++root)
      for_own<Number>(own, columns, [&](int i, int row, int column) {
        number_at<Number>(to + root * own.size() + i) =
            *reinterpret_cast<const Number*>(mine + root * stride + row * columns + column);
      });
  }
  const auto residual = [&](int row, int column) -> Number& {
    return number_at<Number>(norm.h.data + row * norm.h.stride + column);
  };
  // On its way while this block waits.
  for_own<Number>(own, columns,
                  [&](int i, int row, int column) { number_at<Number>(values + i) = residual(row, column); });
  meet(group, count, 0);
  for_own<Number>(own, columns, [&](int i, int row, int column) {
    const int of_numbers = own.size() / kWidth<Number>;
    const Number sum = sum_of_roots<Number>(group, count, tree, of_numbers, i / kWidth<Number>);
    Number& value = number_at<Number>(values + i);
    value = residual_sums(value, sum, norm, column);
    residual(row, column) = value;
  });
  __syncthreads();
  float* const squares = squares_of_rows(group);
  sum_squares(squares, values, own, columns);
  __syncthreads();
  if (threadIdx.x == 0) {
    *count_of_block(group) = count;
    const auto last = static_cast<std::uint32_t>(parts) - 1;
    is_last[0] = count_up(arrivals(group, own.first), last) == last;
  }
  __syncthreads();
  if (is_last[0] == 0) return;
  for (int row = own.first; row < norm.h.rows; row += own.groups)
    scale_row(norm.out.data + row * norm.out.stride, norm.h.data + row * norm.h.stride, norm.weight, columns,
              norm_factor(squares + row * kNormWarps, columns, norm.epsilon));
}

struct NormGrid {
  int parts = 1, groups = 1;  // blocks of a row, and rows at a time
  std::int64_t numbers = 0;   // of a block
};

/// As many blocks a row as keep the threads of each busy once with `width` numbers, and no more than there
/// are for the rows.
NormGrid norm_grid(std::int64_t rows, std::int64_t columns, std::int64_t width) {
  NormGrid grid;
  while (grid.parts < kNormWarps && grid.parts * kPeerThreads * width < columns &&
         2 * grid.parts * rows <= kPeerBlocks)
    grid.parts *= 2;
  const int most_groups = kPeerBlocks / grid.parts;
  grid.groups = static_cast<int>(std::min<std::int64_t>(rows, most_groups));
  const std::int64_t rows_of_block = blocks_for(rows, grid.groups), runs = blocks_for(columns, kNormThreads);
  grid.numbers = rows_of_block * runs * (kNormThreads / grid.parts);
  return grid;
}

bool fits(const NormGrid& grid, const PeerTree& tree, std::int64_t rows) {
  return rows <= kMostNormRows && grid.numbers * tree.most <= kRoom;
}

/// The same on every rank.
std::int64_t width_of(std::int64_t columns) { return columns % 4 == 0 ? 4 : 1; }

}  // namespace

bool has_room_for_norm(const PeerTree& tree, std::int64_t rows, std::int64_t columns) {
  return fits(norm_grid(rows, columns, width_of(columns)), tree, rows);
}

void peer_add_norm(cudaStream_t stream, const PeerGroup& group, const PeerTree& tree,
                   const DeviceResidualNorm& norm, const float* mine) {
  const auto& [data, row_stride, rows, columns] = norm.h;
  const bool wide = width_of(columns) == 4;
  LLM_TP_CHECK(!wide || (are_wide(data, mine) && row_stride % 4 == 0), "rows that lie askew");
  LLM_TP_CHECK(has_room_for_norm(tree, rows, columns), "a sum and norm that mailboxes have no room for");
  const NormGrid grid = norm_grid(rows, columns, width_of(columns));
  const auto blocks = static_cast<unsigned>(grid.parts * grid.groups);
  const std::size_t shared = static_cast<std::size_t>(grid.numbers) * sizeof(float);
  const auto kernel = wide ? peer_add_norm_kernel<float4> : peer_add_norm_kernel<float>;
  launch("peer_add_norm_kernel", kernel, blocks, kPeerThreads, shared, stream, group, tree, norm, mine,
         rows * columns, grid.parts);
}

}  // namespace llm_tp

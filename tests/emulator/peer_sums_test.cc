// Sums between GPUs that write into each other's memory, with all ranks on one device: each has a stream and
// a mailbox of its own.
#include "kernels/cuda/peer_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "comm/ipc/peer_tree.h"
#include "comm/tree_reduce.h"
#include "emulator/device_tensor.h"
#include "emulator/virtual_ranks.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/device_rows.h"

namespace llm_tp::testing {
namespace {

TreeParts leaves_of(int leaves, int world) {
  std::vector<Range> runs;
  for (int r = 0; r < world; ++r) runs.push_back({leaves * r / world, leaves * (r + 1) / world});
  return TreeParts(runs);
}

class PeerSums : public ::testing::Test {
 protected:
  CudaBackend cuda{0, 1};

  /// A sum that is added to a residual and normed, on every rank, against the tree on the host and add_norm.
  void expect_norms(VirtualRanks& ranks, const TreeParts& leaves, std::int64_t rows, std::int64_t columns);

  /// Several sums one after the other, queued on all ranks before any is waited for; every rank's result
  /// against the tree on the host.
  void expect_bits(VirtualRanks& ranks, const TreeParts& leaves, std::int64_t elements, bool slices,
                   int sums = 3) {
    const std::int64_t most = peer_tree_of(leaves, 0).most;
    std::vector<std::vector<float>> wanted;
    std::vector<std::unique_ptr<DeviceTensor>> mine, out;
    for (int s = 0; s < sums; ++s) {
      std::vector<std::vector<float>> roots;
      for (int r = 0; r < ranks.world(); ++r) {
        std::vector<float> of_rank = random_floats(most * elements, static_cast<unsigned>(1 + 100 * s + r));
        for (int i = 0; i < leaves.roots_of_rank(r); ++i)
          roots.emplace_back(of_rank.begin() + i * elements, of_rank.begin() + (i + 1) * elements);
        mine.push_back(std::make_unique<DeviceTensor>(cuda, of_rank, most));
        out.push_back(std::make_unique<DeviceTensor>(
            cuda, std::vector<float>(static_cast<std::size_t>(elements), -1.0f), 1));
      }
      std::vector<const float*> pointers;
      for (const auto& root : roots) pointers.push_back(root.data());
      wanted.emplace_back(static_cast<std::size_t>(elements));
      evaluate_tree(leaves.additions(), pointers, wanted.back().data(), elements);
    }
    cuda.synchronize();
    const auto world = static_cast<std::size_t>(ranks.world());
    for (int r = 0; r < ranks.world(); ++r) {
      for (std::size_t s = 0; s < wanted.size(); ++s) {
        const std::size_t at = s * world + static_cast<std::size_t>(r);
        (slices ? peer_sum_slices : peer_sum_whole)(ranks.stream(r), ranks.group(r), peer_tree_of(leaves, r),
                                                    reinterpret_cast<float*>(out[at]->view.data),
                                                    reinterpret_cast<const float*>(mine[at]->view.data),
                                                    elements, elements);
      }
      for (int i = 0; i < 20; ++i) ranks.is_done(r);  // the first ones have to wait for the others
    }
    ranks.wait();
    for (std::size_t at = 0; at < out.size(); ++at)
      EXPECT_EQ(bits_of(out[at]->take()), bits_of(wanted[at / world]))
          << "rank " << at % world << " of " << world << ", sum " << at / world << ", " << elements
          << " numbers";
  }
};

void PeerSums::expect_norms(VirtualRanks& ranks, const TreeParts& leaves, std::int64_t rows,
                            std::int64_t columns) {
  const std::int64_t elements = rows * columns, most = peer_tree_of(leaves, 0).most;
  std::vector<std::vector<float>> roots;
  std::vector<std::unique_ptr<DeviceTensor>> mine, h, out;
  const std::vector<float> residual = random_floats(elements, 50, 2.0f);
  const DeviceTensor bias(cuda, random_floats(columns, 51), 1), weight(cuda, random_floats(columns, 52), 1);
  const auto norm_of = [&](const DeviceTensor& to, const DeviceTensor& added_to) {
    return ResidualNorm{to.view, added_to.view,   rows % 2 == 0 ? TensorView{} : bias.vector(),
                        0.3f,    weight.vector(), 1e-5f};
  };
  const auto empty = [&] {
    return std::make_unique<DeviceTensor>(cuda, std::vector<float>(static_cast<std::size_t>(elements)), rows);
  };
  for (int r = 0; r < ranks.world(); ++r) {
    const std::vector<float> of_rank = random_floats(most * elements, static_cast<unsigned>(1 + r));
    for (int i = 0; i < leaves.roots_of_rank(r); ++i)
      roots.emplace_back(of_rank.begin() + i * elements, of_rank.begin() + (i + 1) * elements);
    mine.push_back(std::make_unique<DeviceTensor>(cuda, of_rank, most));
    h.push_back(std::make_unique<DeviceTensor>(cuda, residual, rows));
    out.push_back(empty());
  }
  std::vector<const float*> pointers;
  for (const auto& root : roots) pointers.push_back(root.data());
  std::vector<float> summed(static_cast<std::size_t>(elements));
  evaluate_tree(leaves.additions(), pointers, summed.data(), elements);
  const DeviceTensor x(cuda, summed, rows), wanted_h(cuda, residual, rows);
  const auto wanted_out = empty();
  cuda.add_norm(norm_of(*wanted_out, wanted_h), x.view);
  cuda.synchronize();
  for (int r = 0; r < ranks.world(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    peer_add_norm(ranks.stream(r), ranks.group(r), peer_tree_of(leaves, r),
                  residual_norm_of(norm_of(*out[at], *h[at])),
                  reinterpret_cast<const float*>(mine[at]->view.data));
    for (int i = 0; i < 20; ++i) ranks.is_done(r);
  }
  ranks.wait();
  for (std::size_t at = 0; at < out.size(); ++at) {
    SCOPED_TRACE("rank " + std::to_string(at) + " of " + std::to_string(out.size()) + ", " +
                 std::to_string(leaves.total_roots()) + " roots, " + std::to_string(rows) + " rows of " +
                 std::to_string(columns));
    EXPECT_EQ(bits_of(h[at]->take()), bits_of(wanted_h.take()));
    EXPECT_EQ(bits_of(out[at]->take()), bits_of(wanted_out->take()));
  }
}

TEST_F(PeerSums, HaveTheBitsOfTheTree) {
  for (const int world : {1, 2, 3, 4}) {
    VirtualRanks ranks(cuda, world);
    for (const bool slices : {false, true})
      for (const int leaves : {3, 8})
        for (const std::int64_t elements : {1, 1021, 2052}) {
          SCOPED_TRACE((slices ? "slices, " : "whole, ") + std::to_string(leaves) + " leaves");
          expect_bits(ranks, leaves_of(leaves, world), elements, slices);
        }
  }
}

TEST_F(PeerSums, FillTheirRoom) {
  VirtualRanks ranks(cuda, 2);
  const TreeParts leaves = leaves_of(5, 2);
  const std::int64_t whole = peer_sum_whole_limit(peer_tree_of(leaves, 0)),
                     slices = peer_sum_slices_limit(peer_tree_of(leaves, 0), 2);
  for (const std::int64_t less : {0, 1}) {
    expect_bits(ranks, leaves, whole - less, false, 2);
    expect_bits(ranks, leaves, slices - less, true, 2);
  }
  EXPECT_THROW(expect_bits(ranks, leaves, whole + 4, false), Error);
  EXPECT_THROW(expect_bits(ranks, leaves, slices + 8, true), Error);
}

TEST_F(PeerSums, SizesAndWaysMayFollowEachOther) {
  VirtualRanks ranks(cuda, 3);
  const TreeParts leaves = leaves_of(8, 3);
  for (const std::int64_t elements : {8000, 4, 3000, 1, 8000})
    for (const bool slices : {true, false}) expect_bits(ranks, leaves, elements, slices, 1);
}

TEST_F(PeerSums, AreAddedToTheResidualAndNormedByTheSameKernel) {
  for (const int world : {1, 2, 3, 4}) {
    VirtualRanks ranks(cuda, world);
    for (const int leaves : {3, 8})
      // One block a row and several, of four numbers a load and of one, several rows a block.
      for (const auto& [rows, columns] :
           {std::pair{1, 1}, {5, 300}, {1, 1030}, {2, 2052}, {40, 64}, {1, 1030}})
        expect_norms(ranks, leaves_of(leaves, world), rows, columns);
  }
}

TEST_F(PeerSums, WithANormFillTheirRoom) {
  VirtualRanks ranks(cuda, 2);
  const TreeParts one_root = leaves_of(2, 2), two_roots = leaves_of(3, 2);
  EXPECT_TRUE(has_room_for_norm(peer_tree_of(one_root, 0), 1, 65536));
  EXPECT_FALSE(has_room_for_norm(peer_tree_of(one_root, 0), 1, 65540));
  EXPECT_FALSE(has_room_for_norm(peer_tree_of(one_root, 0), 65, 4));
  EXPECT_FALSE(has_room_for_norm(peer_tree_of(two_roots, 0), 1, 65536));
  expect_norms(ranks, one_root, 1, 65536);
  expect_norms(ranks, one_root, 64, 4);
  EXPECT_THROW(expect_norms(ranks, one_root, 65, 4), Error);
}

TEST_F(PeerSums, RowsComeFromTheirOwners) {
  for (const int world : {1, 2, 3}) {
    VirtualRanks ranks(cuda, world);
    for (const std::int64_t rows : {1, 5, 40}) {
      const std::int64_t columns = 37;
      std::vector<std::int32_t> owners;
      for (std::int64_t t = 0; t < rows; ++t) owners.push_back(static_cast<std::int32_t>(t * t % world));
      StepTable table(cuda.stream(), cuda.pipe());
      const std::int32_t* const on_device = table.hold(std::span<const std::int32_t>(owners));
      std::vector<std::unique_ptr<DeviceTensor>> tensors;
      std::vector<float> wanted(static_cast<std::size_t>(rows * columns));
      for (int r = 0; r < world; ++r) {
        const std::vector<float> mine = random_floats(rows * columns, static_cast<unsigned>(r + 1));
        for (std::size_t i = 0; i < wanted.size(); ++i)
          if (owners[i / static_cast<std::size_t>(columns)] == r) wanted[i] = mine[i];
        tensors.push_back(std::make_unique<DeviceTensor>(cuda, mine, rows));
      }
      cuda.synchronize();
      for (int r = 0; r < world; ++r) {
        const TensorView view = tensors[static_cast<std::size_t>(r)]->view;
        const DeviceRows own{reinterpret_cast<float*>(view.data), view.row_stride, rows, columns};
        const std::int64_t half = rows * columns / 2;
        peer_rows(ranks.stream(r), ranks.group(r), own, own, on_device, 0, half);
        peer_rows(ranks.stream(r), ranks.group(r), own, own, on_device, half, rows * columns);
      }
      ranks.wait();
      for (const auto& tensor : tensors) EXPECT_EQ(bits_of(tensor->take()), bits_of(wanted)) << rows;
    }
  }
}

TEST_F(PeerSums, EndWhereTheHostGivesUpARank) {
  VirtualRanks ranks(cuda, 2);
  const TreeParts leaves = leaves_of(2, 2);
  const DeviceTensor mine(cuda, random_floats(64, 1), 1), out(cuda, std::vector<float>(64), 1);
  cuda.synchronize();
  for (int sum = 0; sum < 2; ++sum)
    peer_sum_whole(ranks.stream(0), ranks.group(0), peer_tree_of(leaves, 0),
                   reinterpret_cast<float*>(out.view.data), reinterpret_cast<const float*>(mine.view.data),
                   64, 64);
  for (int i = 0; i < 2000; ++i) ASSERT_FALSE(ranks.is_done(0)) << "it did not wait for rank 1";
  ranks.stop();
  while (!ranks.is_done(0)) std::this_thread::yield();
}

}  // namespace
}  // namespace llm_tp::testing

#include "comm/local_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace llm_tp {
namespace {

using testing::HasSubstr;

/// Equal runs, so far as they can be; some are empty where there are more ranks than leaves.
std::vector<Range> runs_of(int leaves, int world) {
  std::vector<Range> runs;
  for (int rank = 0; rank < world; ++rank)
    runs.push_back({leaves * rank / world, leaves * (rank + 1) / world});
  return runs;
}

/// The sum of one complete subtree, as a rank computes it before it calls the group.
std::vector<float> subtree(const std::vector<std::vector<float>>& leaves, std::int64_t begin, int level) {
  if (level == 0) return leaves[static_cast<std::size_t>(begin)];
  std::vector<float> sum = subtree(leaves, begin, level - 1);
  const std::vector<float> right = subtree(leaves, begin + (std::int64_t{1} << (level - 1)), level - 1);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += right[i];
  return sum;
}

std::vector<float> my_roots(const std::vector<std::vector<float>>& leaves, Range run) {
  std::vector<float> roots;
  for (const TreeRoot& root : roots_of(run)) {
    const std::vector<float> sum = subtree(leaves, root.begin, root.level);
    roots.insert(roots.end(), sum.begin(), sum.end());
  }
  return roots;
}

std::vector<std::vector<float>> random_leaves(int count, std::int64_t elements) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> leaves(static_cast<std::size_t>(count));
  for (std::vector<float>& leaf : leaves) {
    for (std::int64_t i = 0; i < elements; ++i) leaf.push_back(normal(generator));
  }
  return leaves;
}

/// sum_tree of [rows, columns] over the leaves; every rank's result must be the same. out has padded rows.
std::vector<float> sum_over(int world, const std::vector<std::vector<float>>& leaves, std::int64_t rows,
                            std::int64_t columns, std::size_t slot_bytes, int times = 1) {
  const std::vector<Range> runs = runs_of(static_cast<int>(leaves.size()), world);
  std::vector<std::vector<float>> results(static_cast<std::size_t>(world));
  LocalGroup(world, slot_bytes).run([&](Communicator& communicator, ControlChannel&) {
    const TreeParts parts(runs);
    const auto rank = static_cast<std::size_t>(communicator.rank());
    const std::int64_t stride = columns + 3;
    std::vector<float> out(static_cast<std::size_t>(rows * stride));
    for (int i = 0; i < times; ++i) {
      std::vector<float> mine = my_roots(leaves, runs[rank]);
      const std::int64_t roots = parts.roots_of_rank(communicator.rank());
      TensorView view{
          reinterpret_cast<std::byte*>(mine.data()), DType::kF32, 3, {roots, rows, columns, 0}, columns};
      communicator.sum_tree(TensorView::matrix(out.data(), DType::kF32, rows, columns, stride), view, parts);
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      results[rank].insert(results[rank].end(), out.begin() + row * stride,
                           out.begin() + row * stride + columns);
    }
  });
  for (const std::vector<float>& result : results) EXPECT_EQ(result, results[0]);
  return results[0];
}

TEST(LocalGroup, SumsHaveTheSameBitsForAnyNumberOfRanks) {
  for (const int leaf_count : {1, 5, 8, 32}) {
    for (const std::size_t slot_bytes : {std::size_t{1} << 20, std::size_t{1024}}) {  // whole, and in chunks
      const std::int64_t rows = 3, columns = 701;
      const auto leaves = random_leaves(leaf_count, rows * columns);
      const std::vector<float> expected = sum_over(1, leaves, rows, columns, slot_bytes);
      for (int world = 2; world <= 8; ++world) {
        EXPECT_EQ(sum_over(world, leaves, rows, columns, slot_bytes), expected)
            << leaf_count << " leaves, " << world << " ranks, slots of " << slot_bytes;
      }
    }
  }
}

TEST(LocalGroup, SumsOfIntegersAreExact) {
  const std::int64_t rows = 2, columns = 40000;  // too much for one phase
  std::vector<std::vector<float>> leaves;
  std::vector<float> expected(static_cast<std::size_t>(rows * columns));
  for (int leaf = 0; leaf < 12; ++leaf) {
    leaves.emplace_back();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      leaves.back().push_back(static_cast<float>((static_cast<int>(i) * 7 + leaf * 13) % 101 - 50));
      expected[i] += leaves.back().back();
    }
  }
  for (const int world : {1, 2, 3, 5}) EXPECT_EQ(sum_over(world, leaves, rows, columns, 1 << 20), expected);
}

TEST(LocalGroup, ManySumsInARowDoNotMix) {
  const auto leaves = random_leaves(8, 96);
  const std::vector<float> expected = sum_over(1, leaves, 1, 96, 1 << 20);
  EXPECT_EQ(sum_over(3, leaves, 1, 96, 1 << 20, 200), expected);
  EXPECT_EQ(sum_over(3, leaves, 1, 96, 128, 100), expected);
}

TEST(LocalGroup, ASumOfNoRowsIsNoCall) {
  EXPECT_TRUE(sum_over(3, random_leaves(4, 0), 0, 16, 1 << 20).empty());
}

TEST(LocalGroup, RowsComeFromTheirOwners) {
  for (const std::size_t slot_bytes : {std::size_t{1} << 20, std::size_t{64}}) {
    for (int world = 1; world <= 5; ++world) {
      LocalGroup(world, slot_bytes).run([&](Communicator& communicator, ControlChannel&) {
        const std::int64_t rows = 11, columns = 37;
        std::vector<int> owners;
        for (int row = 0; row < rows; ++row) owners.push_back(row * 5 % world);
        std::vector<float> tensor;
        for (std::int64_t i = 0; i < rows * columns; ++i) {
          const bool own = owners[static_cast<std::size_t>(i / columns)] == communicator.rank();
          tensor.push_back(own ? static_cast<float>(i) : -1.0F);
        }
        const TensorView view = TensorView::matrix(tensor.data(), rows, columns);
        communicator.share_rows(view, view, owners);
        for (std::size_t i = 0; i < tensor.size(); ++i) ASSERT_EQ(tensor[i], static_cast<float>(i));
      });
    }
  }
}

TEST(LocalGroup, RankZeroGathersBytesOfAllSizesInRankOrder) {
  for (int world = 1; world <= 4; ++world) {
    LocalGroup(world, 64).run([&](Communicator& communicator, ControlChannel&) {
      for (const int unit : {0, 1, 100}) {
        const auto size = static_cast<std::size_t>(unit * communicator.rank());
        const std::vector<std::byte> mine(size, static_cast<std::byte>(communicator.rank()));
        const auto all = communicator.gather(mine);
        if (communicator.rank() != 0) {
          EXPECT_TRUE(all.empty());
          continue;
        }
        ASSERT_EQ(all.size(), static_cast<std::size_t>(world));
        for (int other = 0; other < world; ++other) {
          const auto index = static_cast<std::size_t>(other);
          EXPECT_EQ(all[index], std::vector<std::byte>(static_cast<std::size_t>(unit * other),
                                                       static_cast<std::byte>(other)));
        }
      }
    });
  }
}

TEST(LocalGroup, ControlMessagesOfAnySizeReachEveryRankInOrder) {
  for (int world = 1; world <= 4; ++world) {
    LocalGroup(world).run([&](Communicator&, ControlChannel& channel) {
      for (const std::size_t size : {0, 1, 65528, 65529, 300000, 5, 5, 5, 5}) {
        std::vector<std::byte> expected(size);
        for (std::size_t i = 0; i < size; ++i) expected[i] = static_cast<std::byte>(i * 31 + size);
        std::vector<std::byte> bytes(3);
        if (channel.rank() == 0) bytes = expected;
        channel.broadcast(bytes);
        ASSERT_EQ(bytes, expected);
      }
    });
  }
}

std::string error_of(LocalGroup& group, const std::function<void(Communicator&, ControlChannel&)>& rank_main,
                     ExitCode code) {
  try {
    group.run(rank_main);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

TEST(LocalGroup, ARankThatThrowsUnblocksTheOthersAndItsErrorIsTheGroups) {
  LocalGroup group(4);
  std::atomic<int> unblocked{0};
  const std::string message = error_of(
      group,
      [&](Communicator& communicator, ControlChannel& channel) {
        if (communicator.rank() == 2) throw Error(ExitCode::kBadData, "broken tensor");
        std::vector<std::byte> bytes(8);
        try {
          if (communicator.rank() != 3) communicator.gather(bytes);
          if (communicator.rank() == 3) channel.broadcast(bytes);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kTryAgain);
          ++unblocked;
          throw;
        }
      },
      ExitCode::kBadData);
  EXPECT_EQ(message, "broken tensor");
  EXPECT_EQ(unblocked, 3);
}

TEST(LocalGroup, ARankThatReturnsEarlyIsNamed) {
  LocalGroup group(2);
  const std::string message = error_of(
      group,
      [](Communicator& communicator, ControlChannel&) {
        if (communicator.rank() == 0) communicator.gather({});
      },
      ExitCode::kTryAgain);
  EXPECT_THAT(message, HasSubstr("rank 1"));
  EXPECT_THAT(message, HasSubstr("gather"));
}

TEST(LocalGroup, ALeaderThatLosesAWorkerStopsSending) {
  LocalGroup group(2);
  const std::string message = error_of(
      group,
      [](Communicator&, ControlChannel& channel) {
        std::vector<std::byte> bytes(8);
        const int calls = channel.rank() == 0 ? 1000 : 1;
        for (int i = 0; i < calls; ++i) channel.broadcast(bytes);
      },
      ExitCode::kTryAgain);
  EXPECT_THAT(message, HasSubstr("rank 1"));
}

TEST(LocalGroup, MayBeUsedAgainAfterAnError) {
  LocalGroup group(3);
  EXPECT_THROW(group.run([](Communicator&, ControlChannel&) { throw std::runtime_error("no"); }),
               std::runtime_error);
  std::atomic<int> ranks{0};
  group.run([&](Communicator& communicator, ControlChannel&) {
    communicator.gather({});
    ++ranks;
  });
  EXPECT_EQ(ranks, 3);
}

TEST(LocalGroup, TimeInsideCallsGrowsAndHoldsTheWaitForALateRank) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kLate(20);
  // On a busy machine a rank that means to be early may come late: one try of several has to go as planned.
  std::array<std::vector<double>, 2> waits;
  LocalGroup(2).run([&](Communicator& communicator, ControlChannel&) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    CallTimes before;
    before.waiting = 0;
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (rank == 1) {
        for (const auto begin = Clock::now(); Clock::now() < begin + kLate;) std::this_thread::yield();
      }
      communicator.gather({});
      const CallTimes after = communicator.times();
      waits[rank].push_back(*after.waiting - *before.waiting);
      EXPECT_GE(after.seconds - before.seconds, waits[rank].back());
      EXPECT_GT(after.seconds, before.seconds);
      before = after;
    }
  });
  EXPECT_GT(*std::max_element(waits[0].begin(), waits[0].end()), 0.015) << "rank 1 came 20 ms late";
  EXPECT_LT(*std::min_element(waits[1].begin(), waits[1].end()), 0.015) << "rank 0 was there before";
}

TEST(LocalGroup, ARankAloneWaitsForNobody) {
  LocalGroup(1).run([](Communicator& communicator, ControlChannel&) {
    communicator.gather({});
    EXPECT_EQ(communicator.times().waiting, 0.0);
  });
}

TEST(LocalGroup, AWrongShapeIsRefused) {
  LocalGroup group(1);
  const std::string message = error_of(
      group,
      [](Communicator& communicator, ControlChannel&) {
        std::vector<float> out(4), mine(4);
        communicator.sum_tree(TensorView::matrix(out.data(), 1, 4), TensorView::matrix(mine.data(), 1, 4),
                              TreeParts({{0, 3}}));
      },
      ExitCode::kBug);
  EXPECT_THAT(message, HasSubstr("2 roots of 4"));
}

}  // namespace
}  // namespace llm_tp

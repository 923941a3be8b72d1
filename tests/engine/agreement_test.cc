#include "engine/agreement.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>

#include "comm/local_group.h"

namespace llm_tp {
namespace {

struct Verdict {
  ExitCode code = ExitCode::kOk;
  std::string message;
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

/// What each of `world` ranks gets where rank r runs part(r).
std::vector<Verdict> verdicts(int world, const std::function<void(int)>& part) {
  std::vector<Verdict> all(static_cast<std::size_t>(world));
  LocalGroup(world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), world, "host"};
    try {
      agree(group, [&] { part(group.rank()); });
    } catch (const AgreedError& error) {
      all[static_cast<std::size_t>(group.rank())] = {error.code(), error.what()};
    }
    agree(group, [] {});  // the group is in step: it can go on
  });
  return all;
}

TEST(Agree, RunsThePartOnEveryRank) {
  for (int world = 1; world <= 5; ++world) {
    std::atomic<int> runs{0};
    EXPECT_EQ(verdicts(world, [&](int) { ++runs; }), std::vector<Verdict>(static_cast<std::size_t>(world)));
    EXPECT_EQ(runs, world);
  }
}

TEST(Agree, OneRanksErrorIsEveryRanksWithItsCodeAndNumber) {
  const auto all = verdicts(4, [](int rank) {
    if (rank == 2) throw Error(ExitCode::kBadData, "shard 3 is truncated");
  });
  EXPECT_EQ(all, std::vector<Verdict>(4, {ExitCode::kBadData, "rank 2: shard 3 is truncated"}));
}

TEST(Agree, WhatRankZeroRefusesNeedsNoNumber) {
  const auto all = verdicts(3, [](int rank) {
    if (rank == 0) throw Error(ExitCode::kUsage, "the prompt has no tokens");
  });
  EXPECT_EQ(all, std::vector<Verdict>(3, {ExitCode::kUsage, "the prompt has no tokens"}));
}

TEST(Agree, TheLowestOfSeveralIsTold) {
  const auto all = verdicts(5, [](int rank) {
    if (rank % 2 == 1) throw Error(ExitCode::kMissingFile, "no file on rank " + std::to_string(rank));
  });
  EXPECT_EQ(all, std::vector<Verdict>(5, {ExitCode::kMissingFile, "rank 1: no file on rank 1"}));
}

TEST(Agree, LackOfMemoryAndUnexpectedErrorsHaveTheirCodes) {
  const auto memory = verdicts(2, [](int rank) {
    if (rank == 1) throw std::bad_alloc();
  });
  EXPECT_EQ(memory[0].code, ExitCode::kOutOfMemory);
  EXPECT_NE(memory[0].message.find("--max-context"), std::string::npos) << memory[0].message;
  const auto bug = verdicts(2, [](int rank) {
    if (rank == 1) throw std::out_of_range("map::at");
  });
  EXPECT_EQ(bug[0].code, ExitCode::kBug);
  EXPECT_NE(bug[0].message.find("map::at"), std::string::npos) << bug[0].message;
}

TEST(Agree, MessagesOfAnyLengthArrive) {
  const std::string text(200000, 'x');
  const auto all = verdicts(3, [&](int rank) {
    if (rank == 1) throw Error(ExitCode::kBadData, text);
  });
  EXPECT_EQ(all[2].message, "rank 1: " + text);
}

}  // namespace
}  // namespace llm_tp

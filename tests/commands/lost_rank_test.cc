// A rank never dies alone: whatever ends one process ends the group, with one message and a code that tells a
// batch system what to do.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>

#include "command_run.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

using Clock = std::chrono::steady_clock;

/// A group of three that generates for minutes, token by token.
class LongGeneration : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_start_ranks())
      GTEST_SKIP() << "ranks cannot be started here: no mpirun, or a sanitizer it lacks";
    nlohmann::json config =
        nlohmann::json::parse(std::ifstream(golden_folder() + "/models/llama2_mha/config.json"));
    config["max_position_embeddings"] = 1 << 20;
    folder_.write("config.json", config.dump());
  }
  std::vector<std::string> words(const std::string& communication) const {
    return {"generate",        "--model",    "dummy:" + folder_.path().string(),
            "--prompt-tokens", "1",          "--max-tokens",
            "1000000",         "--threads",  "1",
            "--communication", communication};
  }

 private:
  TemporaryFolder folder_;
};

/// Kills rank `lost` in the middle of the generation.
void expect_group_ends(const std::vector<std::string>& words, int lost) {
  RunningRanks group(3, words);
  group.wait_for_output(100);
  const std::vector<pid_t> ranks = group.ranks();
  ASSERT_EQ(std::count(ranks.begin(), ranks.end(), -1), 0);
  const auto killed = Clock::now();
  ASSERT_EQ(::kill(ranks[static_cast<std::size_t>(lost)], SIGKILL), 0);
  const Ended ended = group.end();
  const double seconds = std::chrono::duration<double>(Clock::now() - killed).count();
  // Two seconds on a machine with nothing else to do; a group that waits for its rank would never end.
  EXPECT_LT(seconds, 10);
  // The code of the ranks that noticed, or the launcher's own for a killed process.
  EXPECT_TRUE(ended.code == 75 || ended.code == 137) << ended.code << "\n" << ended.err;
  EXPECT_LE(ended.errors().size(), 1U) << ended.err;
  for (const std::string& line : ended.errors())
    EXPECT_NE(line.find("rank " + std::to_string(lost)), std::string::npos) << line;
  for (const pid_t rank : ranks) EXPECT_TRUE(ends_soon(rank)) << rank;
}

TEST_F(LongGeneration, AKilledWorkerEndsTheGroupWithOneMessageOverSharedMemory) {
  expect_group_ends(words("shared_memory"), 1);
}
TEST_F(LongGeneration, AKilledWorkerEndsTheGroupWithOneMessageOverMpi) { expect_group_ends(words("mpi"), 2); }
TEST_F(LongGeneration, AKilledLeaderEndsTheGroupWithOneMessage) { expect_group_ends(words("auto"), 0); }

TEST_F(LongGeneration, ATerminatedLauncherLeavesNoRankBehind) {
  RunningRanks group(3, words("auto"));
  group.wait_for_output(100);
  const std::vector<pid_t> ranks = group.ranks();
  ::kill(group.launcher(), SIGTERM);
  EXPECT_NE(group.end().code, 0);
  for (const pid_t rank : ranks) EXPECT_TRUE(ends_soon(rank)) << rank;
}

}  // namespace
}  // namespace llm_tp

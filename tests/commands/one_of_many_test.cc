// --only-rank R --of N: one process in the place of a group.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "command_run.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

using testing::HasSubstr;

const std::string kModel = golden_folder() + "/models/heads_9_3";

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// The bytes of the logits that `score` writes.
std::string logits(int ranks, const std::vector<std::string>& more) {
  const std::string file = testing::TempDir() + "/llm-tp-logits.npy";
  const Ended ended = run_command_line(ranks, with({"score", "--model", kModel, "--tokens", "1,7,2,9,4,11,3",
                                                    "--logits", file, "--threads", "1"},
                                                   more));
  EXPECT_EQ(ended.code, 0) << ended.err;
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::filesystem::remove(file);
  return bytes;
}

TEST(OnlyRank, TakesThePlaceOfManyRanksToTheBit) {
  const std::string alone = logits(0, {});
  EXPECT_GT(alone.size(), 128U);
  EXPECT_EQ(logits(0, {"--only-rank", "1", "--of", "3"}), alone);
  EXPECT_EQ(logits(0, {"--only-rank", "4", "--of", "5"}), alone);
  if (can_start_ranks()) {
    EXPECT_EQ(logits(3, {}), alone);
  }
}

TEST(OnlyRank, GeneratesTheTokensOfTheGroup) {
  const auto tokens = [](int ranks, const std::vector<std::string>& more) {
    const Ended ended = run_command_line(ranks, with({"generate", "--model", kModel, "--prompt-tokens",
                                                      "1,2,3", "--max-tokens", "8", "--ignore-eos", "--json"},
                                                     more));
    EXPECT_EQ(ended.code, 0) << ended.err;
    const nlohmann::json answer = ended.json();
    return std::pair(answer.at("choices")[0].at("tokens"), answer.at("ranks").get<int>());
  };
  const auto alone = tokens(0, {}), seven = tokens(0, {"--only-rank", "6", "--of", "7"});
  EXPECT_EQ(seven.first, alone.first);
  EXPECT_EQ(seven.second, 7);
}

TEST(OnlyRank, BenchLeavesTheOthersOutAndSaysSo) {
  const std::vector<std::string> bench{"bench", "--model",         kModel, "--prompt-tokens",
                                       "8",     "--decode-tokens", "4",    "--repetitions",
                                       "1",     "--json"};
  const Ended ended = run_command_line(0, with(bench, {"--only-rank", "1", "--of", "3"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  const nlohmann::json answer = ended.json();
  EXPECT_EQ(answer.at("only_rank"), 1);
  EXPECT_EQ(answer.at("ranks"), 3);
  EXPECT_THAT(answer.at("sums").get<std::string>(), HasSubstr("left out"));
  EXPECT_EQ(answer.at("sum_share"), 0);
  EXPECT_GT(answer.at("decode_tokens_per_second").get<double>(), 0);
  // A third of the model, not all of it.
  const Ended whole = run_command_line(0, bench);
  EXPECT_LT(answer.at("weights_and_kv_bytes").get<double>(),
            0.6 * whole.json().at("weights_and_kv_bytes").get<double>());
  EXPECT_FALSE(whole.json().contains("only_rank"));
}

TEST(OnlyRank, RefusesWhatDoesNotFit) {
  const std::vector<std::string> generate{"generate", "--model", kModel, "--prompt-tokens", "1"};
  const auto refused = [&](int ranks, const std::vector<std::string>& more, const std::string& text) {
    const Ended ended = run_command_line(ranks, with(generate, more));
    EXPECT_EQ(ended.code, 64) << ended.err;
    ASSERT_EQ(ended.errors().size(), 1U) << ended.err;
    EXPECT_THAT(ended.errors()[0], HasSubstr(text));
  };
  refused(0, {"--only-rank", "1"}, "--only-rank R --of N");
  refused(0, {"--of", "2"}, "--only-rank R --of N");
  refused(0, {"--only-rank", "2", "--of", "2"}, "only_rank 2 is not a rank of 2");
  if (can_start_ranks()) refused(2, {"--only-rank", "0", "--of", "2"}, "2 ranks were started");
}

}  // namespace
}  // namespace llm_tp

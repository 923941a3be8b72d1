// A job whose output was lost has not succeeded: /dev/full is a disk without room.
#include <gtest/gtest.h>

#include "command_run.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

const std::string kModel = golden_folder() + "/models/llama2_mha";

void expect_lost(const Ended& ended, const std::string& what) {
  EXPECT_EQ(ended.code, 74) << ended.err;
  ASSERT_EQ(ended.errors().size(), 1U) << ended.err;
  EXPECT_NE(ended.errors()[0].find(what), std::string::npos) << ended.errors()[0];
}

TEST(FullDisk, EveryCommandThatPrintsFails) {
  const std::string harbour = repository_path("models/harbour/hf");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"generate", "--model", kModel, "--prompt-tokens", "1,2", "--max-tokens", "3"},
           {"generate", "--model", kModel, "--prompt-tokens", "1,2", "--max-tokens", "3", "--json"},
           {"score", "--model", kModel, "--tokens", "1,2", "--json"},
           {"tokenize", "--model", harbour, "--text", "lamp"},
           {"inspect", "--model", kModel},
           {"config", "show"},
           {"version", "--json"},
           {"--help"}}) {
    SCOPED_TRACE(words.front() + " " + words.back());
    expect_lost(run_command_line(0, words, "", "/dev/full"), "standard output");
  }
}

TEST(FullDisk, AGroupEndsWhereItsLogitsCannotBeWritten) {
  const std::vector<std::string> words{"score", "--model",  kModel,     "--tokens",
                                       "1,2,3", "--logits", "/dev/full"};
  expect_lost(run_command_line(0, words), "/dev/full: cannot be written: No space left");
  if (can_start_ranks())
    expect_lost(run_command_line(3, words), "/dev/full: cannot be written: No space left");
}

TEST(LogitsFile, AFolderThatIsNotThereIsNamed) {
  expect_lost(
      run_command_line(0, {"score", "--model", kModel, "--tokens", "1,2", "--logits", "/no/such/out.npy"}),
      "/no/such/out.npy");
}

}  // namespace
}  // namespace llm_tp

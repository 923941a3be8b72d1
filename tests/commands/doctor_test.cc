// What `doctor` says of this machine, alone and as a group.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "command_run.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::map<std::string, json> checks_of(const Ended& ended) {
  std::map<std::string, json> checks;
  const json all = ended.json();
  for (const json& check : all.at("checks")) {
    EXPECT_THAT(check.at("status").get<std::string>(), testing::AnyOf("ok", "warning", "error"));
    EXPECT_FALSE(check.at("detail").get<std::string>().empty());
    // Whoever is warned is told what to do.
    EXPECT_EQ(check.at("status") == "ok", check.at("fix").get<std::string>().empty()) << check;
    checks[check.at("name")] = check;
  }
  return checks;
}

TEST(Doctor, SaysWhatOneProcessHas) {
  const Ended ended = run_command_line(0, {"doctor", "--device", "cpu", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto checks = checks_of(ended);
  for (const char* name :
       {"ranks", "mpi", "cores", "instruction set", "memory", "communication", "shared memory", "gpus",
        "gpu communication", "cublaslt", "limit of locked memory", "limit of open files"})
    EXPECT_TRUE(checks.count(name)) << name;
  EXPECT_THAT(checks.at("ranks").at("detail").get<std::string>(), HasSubstr("1 rank on 1 host"));
  EXPECT_THAT(checks.at("mpi").at("detail").get<std::string>(), HasSubstr("not started"));
  EXPECT_FALSE(checks.count("model"));
}

TEST(Doctor, SaysHowAGroupTalks) {
  if (!can_start_ranks()) GTEST_SKIP() << "ranks cannot be started here: no mpirun, or a sanitizer it lacks";
  const Ended shared =
      run_command_line(3, {"doctor", "--device", "cpu", "--json", "--model", golden_folder()});
  ASSERT_EQ(shared.code, 0) << shared.err;
  auto checks = checks_of(shared);
  EXPECT_THAT(checks.at("ranks").at("detail").get<std::string>(), HasSubstr("3 ranks on 1 host"));
  EXPECT_THAT(checks.at("mpi").at("detail").get<std::string>(), HasSubstr("threads: "));
  EXPECT_THAT(checks.at("communication").at("detail").get<std::string>(), HasSubstr("shared memory"));
  EXPECT_THAT(checks.at("communication").at("detail").get<std::string>(), HasSubstr(" us"));
  EXPECT_EQ(checks.at("model").at("status"), "ok");
  checks = checks_of(run_command_line(2, {"doctor", "--device", "cpu", "--json", "--communication", "mpi"}));
  EXPECT_THAT(checks.at("communication").at("detail").get<std::string>(),
              HasSubstr("as communication asks for"));
}

TEST(Doctor, AMissingModelIsAnErrorThatNamesRankAndHost) {
  const Ended ended =
      run_command_line(0, {"doctor", "--device", "cpu", "--json", "--model", "/no/such/model"});
  EXPECT_EQ(ended.code, 69);
  const auto checks = checks_of(ended);
  EXPECT_EQ(checks.at("model").at("status"), "error");
  EXPECT_THAT(checks.at("model").at("detail").get<std::string>(), HasSubstr("rank 0 on host "));
  ASSERT_EQ(ended.errors().size(), 1U);
  EXPECT_THAT(ended.errors()[0], HasSubstr("model"));
}

TEST(Doctor, TextHasALineForEachCheckAndWhatToDo) {
  const Ended ended = run_command_line(0, {"doctor", "--device", "cpu", "--model", "/no/such/model"});
  EXPECT_THAT(ended.out, HasSubstr("ok       ranks"));
  EXPECT_THAT(ended.out, HasSubstr("error    model"));
  EXPECT_THAT(ended.out, HasSubstr("-> put it where every host sees it"));
}

}  // namespace
}  // namespace llm_tp

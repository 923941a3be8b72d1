#include "serve/batch_job.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "harbour.h"
#include "serve/json_text.h"
#include "temporary_folder.h"

namespace llm_tp {
namespace {

std::string line_of(int number) {
  return Json{
      {"custom_id", "r" + std::to_string(number)},
      {"method", "POST"},
      {"url", number % 2 == 0 ? "/v1/completions" : "/v1/chat/completions"},
      {"body", number % 2 == 0
                   ? Json{{"prompt", "The gull " + std::to_string(number)}, {"max_tokens", 4 + number % 3}}
                   : Json{{"messages", Json::array({{{"role", "user"}, {"content", "Hello"}}})},
                          {"max_tokens", 4 + number % 3}}}}
      .dump();
}

class BatchJobTest : public ::testing::Test {
 protected:
  BatchJobTest() {
    std::string input;
    for (int i = 0; i < kLines; ++i) input += line_of(i) + "\n";
    write_file(config_.input, input);
  }
  BatchSummary run(const std::string& output, int stop_after_looks = -1) {
    BatchConfig config = config_;
    config.output = folder_ / output;
    BatchSummary summary;
    with_harbour(1, 3, [&](Leader& leader, const ModelFiles& files) {
      BatchJob job(config, identity_);
      const ServedModel model(files, 128);
      EngineService service(leader);
      int looks = 0;
      summary = job.run(service, model, 3, [&]() -> std::optional<std::string> {
        if (looks++ == stop_after_looks) return "the test says so";
        return std::nullopt;
      });
    });
    return summary;
  }
  std::map<std::string, std::string> texts(const std::string& output) const {
    std::map<std::string, std::string> texts;
    for (const std::string& line : lines_of(folder_ / output)) {
      const Json record = Json::parse(line);
      const Json& choice = record["response"]["body"]["choices"][0];
      const Json& text = choice.contains("text") ? choice["text"] : choice["message"]["content"];
      EXPECT_TRUE(texts.emplace(record["custom_id"], text.get<std::string>()).second) << record["custom_id"];
    }
    return texts;
  }
  static constexpr int kLines = 24;
  JobIdentity identity_{"print"};
  TemporaryFolder folder_;
  BatchConfig config_{folder_ / "in.jsonl", {}, {}, std::nullopt, 10};
};

TEST_F(BatchJobTest, EveryLineIsAnsweredOnce) {
  const BatchSummary summary = run("out.jsonl");
  EXPECT_EQ(summary.total, kLines);
  EXPECT_EQ(summary.completed, kLines);
  EXPECT_EQ(summary.failed, 0);
  EXPECT_FALSE(summary.stopped);
  EXPECT_EQ(texts("out.jsonl").size(), static_cast<std::size_t>(kLines));
}

TEST_F(BatchJobTest, StoppedAnywhereItGoesOnToTheSameAnswers) {
  run("calm.jsonl");
  const auto calm = texts("calm.jsonl");
  for (const int looks : {0, 1, 5, 11}) {
    const std::string output = "out" + std::to_string(looks) + ".jsonl";
    const BatchSummary first = run(output, looks);
    EXPECT_TRUE(first.stopped) << looks;
    EXPECT_LT(first.completed, kLines);
    const BatchSummary second = run(output);
    EXPECT_EQ(second.resumed, first.completed);
    EXPECT_EQ(second.completed, kLines);
    EXPECT_EQ(second.total, kLines);
    EXPECT_EQ(texts(output), calm);
  }
}

TEST_F(BatchJobTest, WhatDoesNotFinishInItsTimeIsLeftForTheNextRun) {
  std::string input;
  for (int i = 0; i < 3; ++i)
    input += Json{{"custom_id", "r" + std::to_string(i)},
                  {"method", "POST"},
                  {"url", "/v1/completions"},
                  {"body", {{"prompt", "The gull"}, {"max_tokens", 60 + i}, {"ignore_eos", true}}}}
                 .dump() +
             "\n";
  write_file(config_.input, input);
  EXPECT_EQ(run("calm.jsonl").completed, 3);
  config_.drain_time = 0;
  const BatchSummary cut = run("out.jsonl", 4);
  EXPECT_TRUE(cut.stopped);
  EXPECT_EQ(cut.completed, 0) << "none had the time";
  EXPECT_EQ(cut.failed, 0);
  EXPECT_EQ(run("out.jsonl").completed, 3);
  EXPECT_EQ(texts("out.jsonl"), texts("calm.jsonl"));
}

TEST_F(BatchJobTest, EmbeddingsAreAnsweredBesideCompletions) {
  write_file(
      config_.input,
      R"({"custom_id":"e","method":"POST","url":"/v1/embeddings","body":{"input":["a boat","a gull"]}})"
      "\n" +
          line_of(0) + "\n");
  EXPECT_EQ(run("out.jsonl").completed, 2);
  for (const std::string& line : lines_of(folder_ / "out.jsonl")) {
    const Json record = Json::parse(line);
    if (record["custom_id"] != "e") continue;
    const Json& data = record["response"]["body"]["data"];
    ASSERT_EQ(data.size(), 2u);
    EXPECT_NE(data[0]["embedding"], data[1]["embedding"]);
  }
}

TEST_F(BatchJobTest, WrongLinesGoToTheErrorFileAndTheRestGoesOn) {
  std::string input = "{ not json\n" + line_of(0) + "\n\n" + line_of(0) + "\n";
  input +=
      R"({"custom_id":"hot","method":"POST","url":"/v1/completions","body":{"prompt":"a","temperature":-3}})"
      "\n";
  input += R"({"custom_id":"embed","method":"POST","url":"/v1/images","body":{"input":"a"}})"
           "\n";
  input +=
      R"({"custom_id":"stream","method":"POST","url":"/v1/completions","body":{"prompt":"a","stream":true}})"
      "\n";
  input += line_of(1);  // without a line end
  write_file(config_.input, input);
  for (int start = 0; start < 2; ++start) {
    const BatchSummary summary = run("out.jsonl");
    EXPECT_EQ(summary.total, 7);
    EXPECT_EQ(summary.completed, 2);
    EXPECT_EQ(summary.failed, 5);
    EXPECT_EQ(summary.resumed, start == 0 ? 0 : 2);
    std::vector<int> numbers;
    std::vector<int> statuses;
    for (const std::string& line : lines_of(folder_ / "out.jsonl.errors")) {
      const Json refusal = Json::parse(line);
      numbers.push_back(refusal["line"]);
      statuses.push_back(refusal["response"]["status_code"]);
      EXPECT_FALSE(refusal["error"]["message"].get<std::string>().empty());
    }
    EXPECT_EQ(numbers, (std::vector<int>{1, 4, 5, 6, 7}));
    EXPECT_EQ(statuses, (std::vector<int>{400, 400, 400, 404, 400}));
  }
}

TEST_F(BatchJobTest, FilesThatCannotGoTogetherAreRefused) {
  const auto code = [&](const std::string& output, const std::string& errors) {
    try {
      BatchJob job({config_.input, output, errors, std::nullopt}, {"print"});
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::kOk;
  };
  EXPECT_EQ(code("", ""), ExitCode::kUsage);
  EXPECT_EQ(code(config_.input, ""), ExitCode::kUsage);
  EXPECT_EQ(code(folder_ / "a", folder_ / "a"), ExitCode::kUsage);
  EXPECT_EQ(code(folder_ / "no/such/folder", ""), ExitCode::kIoError);
  EXPECT_EQ(code(folder_ / "a", ""), ExitCode::kOk);
  config_.input = folder_ / "missing";
  EXPECT_EQ(code(folder_ / "a", ""), ExitCode::kMissingFile);
}

TEST_F(BatchJobTest, AnOutputOfAnotherModelIsRefused) {
  run("out.jsonl");
  BatchConfig config = config_;
  config.output = folder_ / "out.jsonl";
  EXPECT_NO_THROW(BatchJob(config, identity_));
  EXPECT_THROW(BatchJob(config, {"another"}), Error);
}

TEST_F(BatchJobTest, AnotherConfigurationIsRefusedWhereItMayChangeTokens) {
  const auto with = [](const std::string& kv_dtype, int threads, const std::string& temperature) {
    const Json configuration{{"kv_dtype", {{"value", kv_dtype}, {"origin", "default"}}},
                             {"threads", {{"value", threads}, {"origin", "flag"}}},
                             {"generation.temperature", {{"value", temperature}}}};
    return JobIdentity{"print", configuration.dump(), {}};
  };
  identity_ = with("f16", 1, "0");
  run("out.jsonl", 0);
  BatchConfig config = config_;
  config.output = folder_ / "out.jsonl";
  // Nothing is answered yet: any configuration may begin.
  EXPECT_NO_THROW(BatchJob(config, with("int8", 1, "0")));
  run("out.jsonl");
  EXPECT_NO_THROW(BatchJob(config, with("f16", 4, "0"))) << "threads change no token";
  const auto refusal = [&](const JobIdentity& identity) {
    try {
      BatchJob job(config, identity);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refusal(with("int8", 1, "0")).find("begun with kv_dtype \"f16\", now it is \"int8\""),
            std::string::npos);
  EXPECT_NE(refusal(with("f16", 1, "0.7")).find("generation.temperature"), std::string::npos);
}

TEST_F(BatchJobTest, TheManifestSaysHowTheAnswersCameAbout) {
  identity_.configuration = R"({"kv_dtype":{"value":"f16","origin":"default"}})";
  identity_.run = {{"version", "1.2"}, {"ranks", "3"}};
  run("out.jsonl", 5);
  const auto manifest = [&] { return Json::parse(read_file(folder_ / "out.jsonl.manifest.json")); };
  ASSERT_EQ(manifest()["runs"].size(), 1u);
  EXPECT_EQ(manifest()["runs"][0]["stopped_early"], true);
  run("out.jsonl");
  const Json after = manifest();
  EXPECT_EQ(after["model_fingerprint"], "print");
  EXPECT_EQ(after["configuration"]["kv_dtype"]["value"], "f16");
  ASSERT_EQ(after["runs"].size(), 2u);
  const Json& last = after["runs"][1];
  EXPECT_EQ(last["version"], "1.2");
  EXPECT_EQ(last["ranks"], "3");
  EXPECT_EQ(last["lines"], kLines);
  EXPECT_EQ(last["answers_in_output"], kLines);
  EXPECT_EQ(last["answers_before"], after["runs"][0]["answers_in_output"]);
  EXPECT_EQ(last["stopped_early"], false);
  EXPECT_TRUE(last["ended"].is_string());
  // A run that was killed has begun, and has no end.
  BatchConfig config = config_;
  config.output = folder_ / "out.jsonl";
  { BatchJob job(config, identity_); }
  EXPECT_TRUE(manifest()["runs"][2]["ended"].is_null());
}

}  // namespace
}  // namespace llm_tp

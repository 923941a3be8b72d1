// The load test against the engine's own server.
#include "client/load_test.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "serve/http_server.h"
#include "tests/serve/harbour.h"

namespace llm_tp {
namespace {

std::vector<LoadReport> measure(LoadTestConfig config, std::int64_t max_queue = 100) {
  ServeConfig serving;
  serving.port = 0;
  serving.max_queue = max_queue;
  Api api(serving, "a key");
  HttpServer server(serving, api);
  config.url = "http://127.0.0.1:" + std::to_string(server.port());
  std::vector<LoadReport> reports;
  with_harbour(1, 2, [&](Leader& leader, const ModelFiles& files) {
    const ServedModel model(files, 128);
    EngineService service(leader);
    api.open(model, service);
    std::thread client([&] {
      run_load_test(config, "a key", [&](const LoadReport& report) { reports.push_back(report); });
      EXPECT_THROW(run_load_test(config, "another", [](const LoadReport&) {}), Error) << "a wrong key";
      api.drain();
    });
    service.run();
    client.join();
    server.finish();
  });
  return reports;
}

TEST(LoadTest, MeasuresStreamsAndRates) {
  LoadTestConfig config;
  config.streams = {3};
  config.rates = {20};
  config.seconds = 1;
  config.prompt_words = 20;
  config.shared_words = 20;  // all alike: the second comes from the cache
  config.new_tokens = 5;
  config.request = R"({"ignore_eos": true, "temperature": 0})";
  const auto reports = measure(config);
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].name, "3 streams");
  EXPECT_EQ(reports[1].name, "20 requests/s");
  for (const LoadReport& report : reports) {
    EXPECT_GT(report.requests, 2) << report.name;
    EXPECT_EQ(report.refused + report.failed, 0) << report.first_error;
    EXPECT_EQ(report.new_tokens, 5 * report.requests);
    EXPECT_GT(report.cached_tokens, 0);
    EXPECT_GT(report.first_token.p50, 0);
    EXPECT_GE(report.whole.p50, report.first_token.p50);
  }
}

TEST(LoadTest, CountsRequestsThatTheServerRefuses) {
  LoadTestConfig config;
  config.streams = {12};
  config.seconds = 1;
  config.prompt_words = 20;
  config.new_tokens = 40;
  config.request = R"({"ignore_eos": true})";
  const auto reports = measure(config, 1);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_GT(reports[0].refused, 0);
  EXPECT_EQ(reports[0].failed, 0) << reports[0].first_error;
  EXPECT_NE(reports[0].first_error.find("HTTP 429"), std::string::npos) << reports[0].first_error;
}

TEST(LoadTest, SaysWhereNobodyListens) {
  LoadTestConfig config;
  config.url = "http://127.0.0.1:1";
  EXPECT_THROW(run_load_test(config, "", [](const LoadReport&) {}), Error);
  config.request = "[1]";
  EXPECT_THROW(run_load_test(config, "", [](const LoadReport&) {}), Error);
}

}  // namespace
}  // namespace llm_tp

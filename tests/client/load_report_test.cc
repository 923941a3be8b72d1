#include "client/load_report.h"

#include <gtest/gtest.h>

namespace llm_tp {
namespace {

TEST(Percentiles, AreNearestRanks) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  const Percentiles p = percentiles(values);
  EXPECT_EQ(p.p50, 50);
  EXPECT_EQ(p.p90, 90);
  EXPECT_EQ(p.p99, 99);
  EXPECT_EQ(p.max, 100);
  EXPECT_EQ(percentiles({3}).p50, 3);
  EXPECT_EQ(percentiles({3}).p99, 3);
  EXPECT_EQ(percentiles({}).max, 0);
}

TEST(LoadReport, CountsWholeAnswersAloneInItsSpeeds) {
  RequestTimes good;
  good.sent = 1, good.ended = 3, good.status = 200;
  good.pieces = {1.5, 1.75, 2.75};
  good.prompt_tokens = 40, good.cached_tokens = 16, good.new_tokens = 4;  // two came in one piece
  RequestTimes refused;
  refused.sent = 1, refused.ended = 2, refused.status = 429, refused.error = "HTTP 429: full";
  RequestTimes cut = good;
  cut.ended = 4, cut.error = "end of stream";
  const LoadReport report = report_of("2 streams", {good, refused, cut});
  EXPECT_EQ(report.requests, 3);
  EXPECT_EQ(report.refused, 1);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.first_error, "HTTP 429: full");
  EXPECT_EQ(report.seconds, 4);
  EXPECT_EQ(report.new_tokens, 4);
  EXPECT_EQ(report.cached_tokens, 16);
  EXPECT_EQ(report.new_tokens_per_second, 1);
  EXPECT_EQ(report.requests_per_second, 0.25);
  EXPECT_EQ(report.first_token.p50, 0.5);
  EXPECT_EQ(report.between_tokens.p50, 0.25);
  EXPECT_EQ(report.between_tokens.max, 1);
  EXPECT_EQ(report.whole.p50, 2);
}

}  // namespace
}  // namespace llm_tp

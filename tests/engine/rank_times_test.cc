#include "engine/rank_times.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr double kUnknown = -1;

RankReport report(double step, double calls, double waiting) { return {step, calls, waiting, 0, 0}; }

TEST(RankTimes, SumsAndWaitingAreApart) {
  RankTimes times;
  times.update(std::vector{report(8, 4, 3), report(8, 2, 0.5)});
  times.update(std::vector{report(16, 8, 5), report(16, 4, 1.5)});
  ASSERT_EQ(times.totals().size(), 2u);
  EXPECT_EQ(times.totals()[0].step, 16);
  EXPECT_EQ(times.totals()[0].sums, 3);
  EXPECT_EQ(times.totals()[0].waiting, 5);
  EXPECT_EQ(times.totals()[1].sums, 2.5);
  EXPECT_EQ(times.totals()[1].waiting, 1.5);
}

TEST(RankTimes, WithoutKnownWaitsTheShortestCallsAreThoseOfTheLastToArrive) {
  RankTimes times;
  times.update(std::vector{report(8, 5, kUnknown), report(8, 1, kUnknown), report(8, 3, kUnknown)});
  EXPECT_EQ(times.totals()[0].waiting, 4);
  EXPECT_EQ(times.totals()[1].waiting, 0);
  EXPECT_EQ(times.totals()[2].waiting, 2);
  for (const RankTime& t : times.totals()) EXPECT_EQ(t.sums, 1);
  // The other way round in the next step: what counts is each step, not the whole.
  times.update(std::vector{report(16, 6, kUnknown), report(16, 6, kUnknown), report(16, 4, kUnknown)});
  EXPECT_EQ(times.totals()[0].waiting, 4);
  EXPECT_EQ(times.totals()[1].waiting, 4);
  for (const RankTime& t : times.totals()) EXPECT_EQ(t.sums, 2);
}

TEST(RankTimes, TheStragglerIsWhoWorksLongestAndThePastFades) {
  RankTimes times;
  EXPECT_EQ(times.straggler().excess, 0);
  std::vector<RankReport> now(3);
  const auto steps = [&](int count, int late) {
    for (int i = 0; i < count; ++i) {
      for (int r = 0; r < 3; ++r) {
        now[static_cast<std::size_t>(r)].step_seconds += 3;
        now[static_cast<std::size_t>(r)].call_seconds += r == late ? 0 : 2;
        now[static_cast<std::size_t>(r)].waiting_seconds += r == late ? 0 : 1.5;
      }
      times.update(now);
    }
  };
  steps(10, 2);
  EXPECT_EQ(times.straggler().rank, 2);
  EXPECT_NEAR(times.straggler().excess, 3 / 2.0 - 1, 1e-9);
  steps(300, 1);
  EXPECT_EQ(times.straggler().rank, 1) << "ten steps long ago outweigh three hundred";
  EXPECT_NEAR(times.straggler().excess, 0.5, 0.01);
}

TEST(RankTimes, ReportsOfAnotherGroupAreRefused) {
  RankTimes times;
  times.update(std::vector{report(1, 0, 0)});
  EXPECT_THROW(times.update(std::vector{report(1, 0, 0), report(1, 0, 0)}), Error);
}

}  // namespace
}  // namespace llm_tp

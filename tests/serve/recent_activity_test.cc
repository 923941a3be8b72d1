#include "serve/recent_activity.h"

#include <gtest/gtest.h>

namespace llm_tp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

RecentActivity::Sample sample(std::uint64_t prompt, std::uint64_t generated, double step = 0) {
  return {prompt, generated, {{step, step / 4, step / 2}, {step, 0, 0}}};
}

TEST(RecentActivity, RatesAreThoseOfTheLastTenSeconds) {
  RecentActivity recent;
  const RecentActivity::Time begin{};
  // A burst, then ten tokens a second for 30 s.
  recent.add(begin, sample(0, 0));
  for (int s = 1; s <= 30; ++s)
    recent.add(begin + seconds(s), sample(5000, static_cast<std::uint64_t>(9000 + 10 * s), s));
  const auto rates = recent.rates(begin + seconds(30), sample(5000, 9300, 30));
  EXPECT_EQ(rates.generated_tokens, 10);
  EXPECT_EQ(rates.prompt_tokens, 0);
  ASSERT_EQ(rates.sum_shares.size(), 2u);
  EXPECT_EQ(rates.sum_shares[0], 0.25);
  EXPECT_EQ(rates.waiting_shares[0], 0.5);
  EXPECT_EQ(rates.waiting_shares[1], 0);
}

TEST(RecentActivity, AnIdleGroupDoesNothing) {
  RecentActivity recent;
  const RecentActivity::Time begin{};
  for (int s = 0; s < 5; ++s)
    recent.add(begin + seconds(s), sample(0, static_cast<std::uint64_t>(100 * s), s));
  EXPECT_EQ(recent.rates(begin + seconds(8), sample(0, 400, 4)).generated_tokens, 50);
  const auto later = recent.rates(begin + seconds(20), sample(0, 400, 4));
  EXPECT_EQ(later.generated_tokens, 0);
  EXPECT_TRUE(later.sum_shares.empty());
}

TEST(RecentActivity, TheFirstMomentIsNoRateOfItsOwn) {
  RecentActivity recent;
  const RecentActivity::Time begin{};
  EXPECT_EQ(recent.rates(begin, sample(7, 7)).generated_tokens, 0);
  recent.add(begin, sample(0, 0));
  EXPECT_EQ(recent.rates(begin + milliseconds(1), sample(0, 3)).generated_tokens, 3) << "not 3000 a second";
}

}  // namespace
}  // namespace llm_tp

#include "kernels/routing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/exact_exp.h"

namespace llm_tp {
namespace {

RoutingTables route_rows(std::vector<float> logits, std::int32_t count, std::int32_t chosen, bool normalise) {
  return route_on_host(TensorView::matrix(logits.data(), std::ssize(logits) / count, count),
                       {count, chosen, normalise});
}

TEST(Routing, ExponentialsAreThoseOfTheLibraryWithinTwoUnits) {
  for (double x = -744.0; x < 709.0; x += 0.0371) {
    const double want = std::exp(x);
    const double unit = std::nextafter(want, HUGE_VAL) - want;
    EXPECT_NEAR(exact_exp(x), want, 2 * unit) << x;
  }
  EXPECT_EQ(exact_exp(0.0), 1.0);
  EXPECT_EQ(exact_exp(-HUGE_VAL), 0.0);
  EXPECT_EQ(exact_exp(-800.0), 0.0);
  EXPECT_EQ(exact_exp(800.0), HUGE_VAL);
  EXPECT_TRUE(std::isnan(exact_exp(NAN)));
}

TEST(Routing, OfEqualLogitsTheLowestExpertsAreChosen) {
  const RoutingTables routing = route_rows({1, 2, 2, 2}, 4, 2, true);
  EXPECT_EQ(routing.begins, (std::vector<std::int32_t>{0, 0, 1, 2, 2}));
  EXPECT_EQ(routing.weights, (std::vector<float>{0.5F, 0.5F}));
}

TEST(Routing, PairsLieByExpertAndThenByToken) {
  const RoutingTables routing = route_rows({0, 3, 1, 5, 0, 4, 1, 2, 0}, 3, 2, true);
  EXPECT_EQ(routing.begins, (std::vector<std::int32_t>{0, 2, 4, 6}));
  EXPECT_EQ(routing.tokens, (std::vector<std::int32_t>{1, 2, 0, 2, 0, 1}));
}

TEST(Routing, WeightsAreSoftmaxOverAllOrOverTheChosen) {
  const double whole = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  const RoutingTables all = route_rows({1, 2, 3}, 3, 2, false), chosen = route_rows({1, 2, 3}, 3, 2, true);
  EXPECT_EQ(all.weights, (std::vector<float>{static_cast<float>(std::exp(-1.0) / (whole / std::exp(3.0))),
                                             static_cast<float>(1 / (whole / std::exp(3.0)))}));
  EXPECT_NEAR(chosen.weights[0] + chosen.weights[1], 1, 1e-7);
  EXPECT_GT(chosen.weights[0], all.weights[0]);
}

TEST(Routing, LogitsOfAnySizeGiveFiniteWeights) {
  const RoutingTables routing = route_rows({1e30F, -1e30F, 0}, 3, 3, true);
  EXPECT_EQ(routing.weights, (std::vector<float>{1, 0, 0}));
  std::vector<float> x{-200, 0, 200};
  EXPECT_EQ(sigmoids(TensorView::matrix(x.data(), 3, 1)), (std::vector<float>{0, 0.5F, 1}));
}

}  // namespace
}  // namespace llm_tp

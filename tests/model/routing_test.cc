#include "model/routing.h"

#include <gtest/gtest.h>

#include <cmath>

namespace llm_tp {
namespace {

Routing route_rows(std::vector<float> logits, std::int64_t count, std::int64_t chosen, bool normalise) {
  ExpertShape shape;
  shape.count = count, shape.chosen = chosen, shape.normalise = normalise;
  return route(TensorView::matrix(logits.data(), std::ssize(logits) / count, count), shape);
}

TEST(Routing, OfEqualLogitsTheLowestExpertsAreChosen) {
  const Routing routing = route_rows({1, 2, 2, 2}, 4, 2, true);
  EXPECT_EQ(routing.begins, (std::vector<std::int32_t>{0, 0, 1, 2, 2}));
  EXPECT_EQ(routing.weights, (std::vector<float>{0.5F, 0.5F}));
}

TEST(Routing, PairsLieByExpertAndThenByToken) {
  const Routing routing = route_rows({0, 3, 1, 5, 0, 4, 1, 2, 0}, 3, 2, true);
  EXPECT_EQ(routing.begins, (std::vector<std::int32_t>{0, 2, 4, 6}));
  EXPECT_EQ(routing.tokens, (std::vector<std::int32_t>{1, 2, 0, 2, 0, 1}));
}

TEST(Routing, WeightsAreSoftmaxOverAllOrOverTheChosen) {
  const double whole = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  const Routing all = route_rows({1, 2, 3}, 3, 2, false), chosen = route_rows({1, 2, 3}, 3, 2, true);
  EXPECT_EQ(all.weights, (std::vector<float>{static_cast<float>(std::exp(-1.0) / (whole / std::exp(3.0))),
                                             static_cast<float>(1 / (whole / std::exp(3.0)))}));
  EXPECT_NEAR(chosen.weights[0] + chosen.weights[1], 1, 1e-7);
  EXPECT_GT(chosen.weights[0], all.weights[0]);
}

TEST(Routing, LogitsOfAnySizeGiveFiniteWeights) {
  const Routing routing = route_rows({1e30F, -1e30F, 0}, 3, 3, true);
  EXPECT_EQ(routing.weights, (std::vector<float>{1, 0, 0}));
  std::vector<float> x{-200, 0, 200};
  EXPECT_EQ(sigmoids(TensorView::matrix(x.data(), 3, 1)), (std::vector<float>{0, 0.5F, 1}));
}

}  // namespace
}  // namespace llm_tp

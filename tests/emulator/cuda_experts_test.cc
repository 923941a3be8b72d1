// Mixtures of experts on the CUDA backend, emulated or on a GPU: routed on the device they have the bits that
// they have where the host routes.
#include <gtest/gtest.h>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference/reference_backend.h"
#include "mixture_case.h"

namespace llm_tp::testing {
namespace {

class CudaExperts : public ::testing::Test {
 protected:
  CudaBackend cuda{0, 1};
  ReferenceBackend exact;

  void expect_routed_as_on_host(const std::vector<float>& logits, const RouterRule& rule) {
    const DeviceTensor on_device(cuda, logits, std::ssize(logits) / rule.experts);
    const auto routing = cuda.make_routing(rule);
    cuda.route(*routing, on_device.view);
    const RoutingTables got = cuda.routed(*routing);
    std::vector<float> copy = logits;
    const RoutingTables want =
        route_on_host(TensorView::matrix(copy.data(), on_device.view.rows(), on_device.view.columns()), rule);
    EXPECT_EQ(got.begins, want.begins) << rule.experts;
    EXPECT_EQ(got.tokens, want.tokens) << rule.experts;
    EXPECT_EQ(bits_of(got.weights), bits_of(want.weights)) << rule.experts;
  }
};

TEST_F(CudaExperts, AreChosenAsTheHostChoosesThem) {
  for (const RouterRule& rule : {RouterRule{5, 2, true}, RouterRule{1, 1, false}, RouterRule{32, 32, false},
                                 RouterRule{70, 6, true}, RouterRule{70, 6, false}})
    for (const std::int64_t rows : {1, 3, 40}) {
      // 40 rows are more than the block has warps, and with 32 of 32 experts more than it routes.
      std::vector<float> logits = random_floats(rows * rule.experts, static_cast<unsigned>(rows), 4.0f);
      expect_routed_as_on_host(logits, rule);
      for (float& logit : logits) logit = std::round(logit);  // many are equal
      expect_routed_as_on_host(logits, rule);
    }
}

TEST_F(CudaExperts, OfLogitsAtTheEdgeOfNumbers) {
  expect_routed_as_on_host({-0.0f, 0.0f, -1.0f, -INFINITY}, {4, 2, true});
  expect_routed_as_on_host({0.0f, -0.0f, -1.0f, -INFINITY}, {4, 4, false});
  expect_routed_as_on_host({1e30f, -1e30f, 0.0f, 1e-40f}, {4, 3, true});
}

TEST_F(CudaExperts, HaveTheBitsOfTheHostsRouting) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1})
    for (const std::int64_t rows : {1, 11, 40}) {  // 40: all pairs that are routed on the device
      MixtureCase c;
      c.dtype = dtype;
      c.rows = rows;
      c.logits = random_floats(rows * c.rule.experts, 1, 2.0f);
      c.activation = rows == 1 ? Activation::kGelu : Activation::kSilu;
      EXPECT_EQ(bits_of(c.run(cuda, false)), bits_of(c.run(cuda, true))) << name_of(dtype) << ", " << rows;
    }
}

TEST_F(CudaExperts, OfOneRankLeaveTheRowsOfOthersAlone) {
  MixtureCase c;
  c.rows = 9;
  c.logits = random_floats(c.rows * c.rule.experts, 1, 2.0f);
  c.numbers = {1, 3};
  c.leaves = {1, 2};
  EXPECT_EQ(bits_of(c.run(cuda, false)), bits_of(c.run(cuda, true)));
}

TEST_F(CudaExperts, OfTheStepBeforeAreForgotten) {
  MixtureCase c;
  c.rows = 2;
  c.logits_before = {5, 4, 0, 0, 0, 4, 0, 5, 0, 0};  // three experts, of which the last has one pair
  c.logits = {0, 0, 0, 5, 4, 0, 0, 0, 4, 5};         // two others
  EXPECT_EQ(bits_of(c.run(cuda, false)), bits_of(c.run(cuda, true)));
}

TEST_F(CudaExperts, OfMoreRowsAreRoutedByTheHost) {
  MixtureCase c;
  c.rows = 41;
  c.logits = random_floats(c.rows * c.rule.experts, 1, 2.0f);
  EXPECT_EQ(bits_of(c.run(cuda, false)), bits_of(c.run(cuda, true)));
}

TEST_F(CudaExperts, AreCloseToTheReference) {
  MixtureCase c;
  c.dtype = DType::kF32;
  const std::vector<float> got = c.run(cuda, false), want = c.run(exact, false);
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-5 * (1 + std::fabs(want[i])));
}

TEST_F(CudaExperts, SayWhichStepsTheyQueue) {
  StackedWeight gates, others, pieces;
  gates.append(RandomWeight(DType::kBF16, 32, {64, 32, 2}, 1).gated().pack(cuda));
  others.append(RandomWeight(DType::kF16, 32, {64, 32, 2}, 1).gated().pack(cuda));
  for (int i = 0; i < 2; ++i) pieces.append(RandomWeight(DType::kBF16, 16, {64, 32, 2}, 1).pack(cuda));
  const auto down = RandomWeight(DType::kBF16, 64, {16, 16, 1}, 1).pack(cuda);
  const auto queues = [&](const StackedWeight& second, std::int64_t rows) {
    const auto stack =
        cuda.stack_experts({{&gates, down.get()}, {&second, down.get()}}, {0, 2}, Activation::kSilu);
    return cuda.queues_experts(*stack, {2, 2, true}, rows);
  };
  EXPECT_TRUE(queues(gates, 16));
  EXPECT_FALSE(queues(gates, 17));
  EXPECT_FALSE(queues(others, 1));
  EXPECT_FALSE(queues(pieces, 1));
}

}  // namespace
}  // namespace llm_tp::testing

#pragma once
#include <cstdint>
#include <vector>

#include "base/tensor.h"

namespace llm_tp {

/// How a router chooses experts for a token.
struct RouterRule {
  std::int32_t experts = 0, chosen = 0;
  bool normalise = true;  // the weights of the chosen ones add up to 1
};

/// Which tokens go to which expert: pairs of a token and one of its experts, in order of expert, then of
/// token. S = tokens * chosen.
struct RoutingTables {
  std::vector<std::int32_t> tokens;  // [S]
  std::vector<float> weights;        // [S]
  std::vector<std::int32_t> begins;  // [experts + 1]: pairs [begins[e], begins[e + 1]) are expert e's
};

/// The best `chosen` experts of every row of the router's logits [T, experts], in host memory, of equal ones
/// those of lowest index. Their weights are softmax over all experts, divided by their sum where the model
/// says so; exponentials (kernels/exact_exp.h) and sums in double, in the order of the experts, rounded once.
RoutingTables route_on_host(TensorView logits, const RouterRule& rule);

/// 1 / (1 + exp(-x)) of each row of x [T,1], in host memory, in double, rounded once.
std::vector<float> sigmoids(TensorView x);

/// Where DeviceBackend::route() leaves what it found, until the next step or layer. Made by a backend, which
/// may keep it in its own memory instead.
class Routing {
 public:
  explicit Routing(const RouterRule& rule) : rule_(rule) {}
  virtual ~Routing() = default;
  Routing(const Routing&) = delete;
  Routing& operator=(const Routing&) = delete;
  const RouterRule& rule() const noexcept { return rule_; }

  RoutingTables tables;

 private:
  RouterRule rule_;
};

}  // namespace llm_tp

#pragma once
#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "model/model_shape.h"

namespace llm_tp {

/// Which tokens go to which expert: pairs of a token and one of its experts, in order of expert, then of
/// token.
struct Routing {
  std::vector<std::int32_t> tokens;  // [S]
  std::vector<float> weights;        // [S]
  std::vector<std::int32_t> begins;  // [experts + 1]: pairs [begins[e], begins[e + 1]) are expert e's
};

/// The best `chosen` experts of every row of the router's logits [T, experts], of equal ones those of lowest
/// index. Their weights are softmax over all experts, divided by their sum where the model says so;
/// exponentials and sums in double, in the order of the experts, rounded once.
Routing route(TensorView logits, const ExpertShape& experts);

/// 1 / (1 + exp(-x)) of each row of x [T,1], in double, rounded once.
std::vector<float> sigmoids(TensorView x);

}  // namespace llm_tp

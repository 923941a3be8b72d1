#pragma once
#include <vector>

#include "model/step_context.h"

namespace llm_tp {

/// A root-mean-square norm over all heads of q and one over all heads of k, which lie on several ranks (OLMo
/// 2). Every rank learns the sum of squares of every head and adds them in the order of the heads, so that
/// the result does not depend on who holds which.
class WholeNorm {
 public:
  WholeNorm(const ModelShape& shape, const ShardPlan& plan, int rank);
  /// q, k [T, this rank's heads * head_dim] in place; weights of this rank's columns. All ranks call it.
  void forward(const StepContext& step, TensorView q, TensorView k, TensorView query_weight,
               TensorView key_weight) const;

 private:
  std::int64_t query_heads_, kv_heads_, head_dim_;
  Range my_query_heads_, my_kv_heads_;
  std::vector<int> owners_;  // of each query head, then of each KV head: the first rank that has it
  float epsilon_;
};

}  // namespace llm_tp

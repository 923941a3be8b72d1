#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "decoding/candidates.h"
#include "schedule/scheduler.h"

namespace llm_tp {

/// A model whose logits are a hash of the last tokens, read back through the pages that plans write and
/// copy, and the same in every cache: a page that is shared wrongly, copied too late or freed too early
/// changes what comes out.
class FakeModel {
 public:
  /// Tokens that it sees: enough for different histories to differ, few enough for texts to repeat
  /// themselves.
  static constexpr std::int32_t kWindow = 6;

  FakeModel(std::int32_t vocabulary, std::int32_t page_tokens, std::uint64_t salt = 0)
      : vocabulary_(vocabulary), page_tokens_(page_tokens), salt_(salt) {}
  /// Logits after these tokens, multiples of 1/16.
  std::vector<float> logits(const std::vector<TokenId>& tokens) const;
  /// What the ranks would do with the plan.
  std::vector<RowResult> run(const StepPlan& plan);

 private:
  using Page = std::vector<TokenId>;
  std::int32_t vocabulary_, page_tokens_;
  std::uint64_t salt_;
  std::map<std::pair<std::int32_t, PageId>, Page> pages_;  // by cache
};

/// Runs the scheduler to its end; by request, the tokens of each choice.
using Answers = std::map<RequestId, std::vector<std::vector<TokenId>>>;
Answers run_to_end(Scheduler& scheduler, FakeModel& model, FakeModel* draft = nullptr);

}  // namespace llm_tp

#include "fake_model.h"

#include <gtest/gtest.h>

namespace llm_tp {

std::vector<float> FakeModel::logits(const std::vector<TokenId>& tokens) const {
  // Six tokens back are enough for different histories to differ, and let texts repeat themselves.
  std::uint64_t hash = salt_;
  for (std::size_t i = tokens.size() > 6 ? tokens.size() - 6 : 0; i < tokens.size(); ++i)
    hash = (hash ^ static_cast<std::uint64_t>(tokens[i] + 1)) * 0x9E3779B97F4A7C15u, hash ^= hash >> 29;
  std::vector<float> out;
  for (std::int32_t id = 0; id < vocabulary_; ++id) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<float>(hash >> 57) / 16.0F);
  }
  return out;
}

std::vector<RowResult> FakeModel::run(const StepPlan& plan) {
  for (std::size_t i = 0; i < plan.copy_from.size(); ++i)
    pages_[plan.copy_to[i]] = pages_.at(plan.copy_from[i]);
  std::vector<std::vector<TokenId>> before;  // of each row, itself included
  std::size_t row = 0;
  for (const PlanSlice& slice : plan.slices) {
    const auto page_of = [&](std::int32_t position) -> Page& {
      Page& page =
          pages_[plan.pages.at(static_cast<std::size_t>(slice.first_page + position / page_tokens_))];
      page.resize(static_cast<std::size_t>(page_tokens_), -1);
      return page;
    };
    for (std::int32_t i = 0; i < slice.rows; ++i, ++row) {
      const std::int32_t position = slice.first_position + i;
      page_of(position)[static_cast<std::size_t>(position % page_tokens_)] = plan.tokens[row];
      std::vector<TokenId> tokens;
      for (std::int32_t p = 0; p <= position; ++p)
        tokens.push_back(page_of(p)[static_cast<std::size_t>(p % page_tokens_)]);
      before.push_back(std::move(tokens));
    }
  }
  CandidateFinder finder({0, vocabulary_}, 16);
  std::vector<RowResult> results;
  for (const RowRequest& request : plan.score.rows) {
    const std::vector<float> row_logits = logits(before.at(static_cast<std::size_t>(request.row)));
    const std::vector<ExpSum> sums = finder.sums(row_logits, 1.0F);
    const std::vector<std::span<const ExpSum>> ranks{sums};
    const double normaliser = merge_sums(ranks, 1.0).log_sum_exp;
    const std::vector<RowCandidates> found{
        finder.read(row_logits, plan.score, request, normaliser, kAllCandidates)};
    results.push_back(choose(request, found, vocabulary_).value());
    if (request.state != 0) results.back().state = {row_logits[0] - 4, row_logits[1] - 4, row_logits[2] - 4};
  }
  return results;
}

Answers run_to_end(Scheduler& scheduler, FakeModel& model, FakeModel* draft) {
  Answers answers;
  while (const auto plan = scheduler.next()) {
    FakeModel& runs = plan->model == ModelSlot::kDraft ? *draft : model;
    for (const Progress& p : scheduler.commit(*plan, runs.run(*plan))) {
      auto& choices = answers[p.request];
      choices.resize(std::max(choices.size(), static_cast<std::size_t>(p.choice) + 1));
      if (p.new_token) choices[static_cast<std::size_t>(p.choice)].push_back(p.row.token);
    }
  }
  EXPECT_EQ(scheduler.pages_in_use(), 0);
  return answers;
}

}  // namespace llm_tp

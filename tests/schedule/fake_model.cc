#include "fake_model.h"

#include <gtest/gtest.h>

namespace llm_tp {

std::vector<float> FakeModel::logits(const std::vector<TokenId>& tokens) const {
  std::uint64_t hash = salt_;
  for (std::size_t i = tokens.size() > kWindow ? tokens.size() - kWindow : 0; i < tokens.size(); ++i)
    hash = (hash ^ static_cast<std::uint64_t>(tokens[i] + 1)) * 0x9E3779B97F4A7C15u, hash ^= hash >> 29;
  std::vector<float> out;
  for (std::int32_t id = 0; id < vocabulary_; ++id) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<float>(hash >> 57) / 16.0F);
  }
  return out;
}

std::vector<RowResult> FakeModel::run(const StepPlan& plan) {
  for (const PageCopy& copy : plan.copies) pages_[{copy.cache, copy.to}] = pages_.at({copy.cache, copy.from});
  std::vector<std::vector<TokenId>> before;  // of each row, itself included
  for (std::size_t cache = 0; cache < plan.caches(); ++cache) {
    std::vector<std::vector<TokenId>> seen;
    for (std::size_t s = 0; s < plan.slices.size(); ++s) {
      const PlanSlice& slice = plan.slices[s];
      const PageTable& table = plan.tables[cache * plan.slices.size() + s];
      const auto page_of = [&](std::int32_t position) -> Page& {
        const std::int32_t number = position / page_tokens_ - table.pages_before;
        EXPECT_TRUE(number >= 0 && number < table.pages) << "a page that the slice does not have";
        const PageId id = plan.pages.at(static_cast<std::size_t>(table.first_page + number));
        Page& page = pages_[{static_cast<std::int32_t>(cache), id}];
        page.resize(static_cast<std::size_t>(page_tokens_), -1);
        return page;
      };
      for (std::int32_t i = 0; i < slice.rows; ++i) {
        const std::int32_t position = slice.first_position + i;
        page_of(position)[static_cast<std::size_t>(position % page_tokens_)] = plan.tokens.at(seen.size());
        std::vector<TokenId> tokens;
        for (std::int32_t p = std::max(0, position + 1 - kWindow); p <= position; ++p)
          tokens.push_back(page_of(p)[static_cast<std::size_t>(p % page_tokens_)]);
        seen.push_back(std::move(tokens));
      }
    }
    if (cache > 0) {
      EXPECT_EQ(seen, before) << "the caches hold different tokens";
    }
    before = std::move(seen);
  }
  CandidateFinder finder(16);
  std::vector<RowResult> results;
  for (const RowRequest& request : plan.score.rows) {
    const std::vector<float> row_logits = logits(before.at(static_cast<std::size_t>(request.row)));
    const std::vector<ExpSum> sums = finder.sums(row_logits, 1.0F);
    const std::vector<std::span<const ExpSum>> ranks{sums};
    const double normaliser = merge_sums(ranks, 1.0).log_sum_exp;
    const std::vector<RowCandidates> found{
        finder.read({0, vocabulary_}, row_logits, plan.score, request, normaliser, kAllCandidates)};
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

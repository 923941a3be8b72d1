#include "schedule/step_plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/error.h"

namespace llm_tp {
namespace {

/// Two sequences in two caches: three rows from position 16 and one row from position 5; two rows are scored.
StepPlan good_plan() {
  StepPlan plan;
  plan.step = 41;
  plan.tokens = {7, 8, 9, 10};
  plan.slices = {{3, 16, 9}, {1, 5, 2}};
  plan.tables = {{0, 2, 0}, {2, 1, 0}, {3, 1, 1}, {4, 1, 0}};
  plan.pages = {4, 5, 6, 0, 1};
  plan.copies = {{1, 1, 6}};
  plan.model = ModelSlot::kDraft;
  plan.score.adjustments = {{2, Adjustment::Op::kAdd, 1.5F}, {3, Adjustment::Op::kSet, -2}};
  plan.score.mask_words = {5, 8, 9};
  plan.score.rows.resize(2);
  plan.score.rows[0].row = 2;
  plan.score.rows[0].sampling.temperature = 0.5F;
  plan.score.rows[1].row = 3;
  plan.score.rows[1].adjustments = 2;
  plan.score.rows[1].first_mask_word = 1;
  plan.score.rows[1].mask_words = 2;
  return plan;
}

TEST(StepPlan, ArrivesAsItWasSent) {
  const StepPlan sent = good_plan();
  const std::vector<std::byte> bytes = sent.to_bytes();
  const StepPlan plan = StepPlan::from_bytes(bytes, 41);
  EXPECT_EQ(plan.step, sent.step);
  EXPECT_EQ(plan.kind, StepPlan::Kind::kRun);
  EXPECT_EQ(plan.tokens, sent.tokens);
  EXPECT_EQ(plan.pages, sent.pages);
  ASSERT_EQ(plan.slices.size(), 2U);
  EXPECT_EQ(plan.slices[0].first_position, 16);
  EXPECT_EQ(plan.slices[1].prompt_tokens, 2);
  EXPECT_EQ(plan.caches(), 2U);
  ASSERT_EQ(plan.tables.size(), 4U);
  EXPECT_EQ(plan.tables[2].first_page, 3);
  EXPECT_EQ(plan.tables[2].pages_before, 1);
  ASSERT_EQ(plan.copies.size(), 1U);
  EXPECT_EQ(plan.copies[0].cache, 1);
  EXPECT_EQ(plan.copies[0].to, 6);
  EXPECT_EQ(plan.model, ModelSlot::kDraft);
  ASSERT_EQ(plan.score.rows.size(), 2U);
  EXPECT_EQ(plan.score.rows[0].sampling.temperature, 0.5F);
  ASSERT_EQ(plan.score.adjustments_of(plan.score.rows[1]).size(), 2U);
  EXPECT_EQ(plan.score.adjustments_of(plan.score.rows[1])[1].id, 3);
  EXPECT_EQ(plan.score.mask_of(plan.score.rows[1])[0], 8U);
  EXPECT_EQ(plan.to_bytes(), bytes);
}

TEST(StepPlan, StopAndReportAreWholePlans) {
  for (const StepPlan::Kind kind : {StepPlan::Kind::kStop, StepPlan::Kind::kReport}) {
    StepPlan plan;
    plan.step = 3;
    plan.kind = kind;
    EXPECT_EQ(StepPlan::from_bytes(plan.to_bytes(), 3).kind, kind);
  }
}

void refused(const std::vector<std::byte>& bytes, const std::string& word) {
  try {
    StepPlan::from_bytes(bytes, 41);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBug);
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    return;
  }
  ADD_FAILURE() << "no error that says " << word;
}
void refused(const std::function<void(StepPlan&)>& change, const std::string& word) {
  StepPlan plan = good_plan();
  change(plan);
  refused(plan.to_bytes(), word);
}

TEST(StepPlan, EveryShortenedMessageIsRefused) {
  const std::vector<std::byte> bytes = good_plan().to_bytes();
  for (std::size_t length = 0; length < bytes.size(); ++length)
    refused(std::vector<std::byte>(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)), "");
}

TEST(StepPlan, MoreBytesThanThePlanAreRefused) {
  std::vector<std::byte> bytes = good_plan().to_bytes();
  bytes.push_back(std::byte{0});
  refused(bytes, "length");
}

TEST(StepPlan, AListLongerThanTheMessageIsRefusedWithoutAllocatingIt) {
  std::vector<std::byte> bytes = good_plan().to_bytes();
  const std::size_t count_of_tokens = 4 + 8 + 4 + 4;  // format, step, kind, model
  for (std::size_t i = 0; i < 8; ++i) bytes[count_of_tokens + i] = std::byte{0xFF};
  refused(bytes, "short");
}

TEST(StepPlan, AnotherFormatIsRefused) {
  std::vector<std::byte> bytes = good_plan().to_bytes();
  bytes[0] ^= std::byte{1};
  refused(bytes, "format");
}

TEST(StepPlan, AnotherStepIsRefusedWithBothNumbers) {
  refused([](StepPlan& plan) { plan.step = 42; }, "expected step 41 and got 42");
}

TEST(StepPlan, AnUnknownKindIsRefused) {
  refused([](StepPlan& plan) { plan.kind = static_cast<StepPlan::Kind>(9); }, "kind");
}

TEST(StepPlan, SlicesThatDoNotCoverTheTokensAreRefused) {
  refused([](StepPlan& plan) { plan.tokens.push_back(1); }, "cover");
  refused([](StepPlan& plan) { plan.slices.pop_back(); }, "cover");
  refused([](StepPlan& plan) { plan.slices.push_back({0, 0, 0}); }, "page tables");
  refused([](StepPlan& plan) { plan.slices[0].rows = -1; }, "without rows");
}

TEST(StepPlan, PageTablesOutsideThePlanAreRefused) {
  refused([](StepPlan& plan) { plan.tables[0].pages = 6; }, "page table");
  refused([](StepPlan& plan) { plan.tables[0].pages = -1; }, "page table");
  refused([](StepPlan& plan) { plan.tables[3].first_page = 5; }, "page table");
  refused([](StepPlan& plan) { plan.tables[3].first_page = -1; }, "page table");
  refused([](StepPlan& plan) { plan.tables[1].pages_before = -1; }, "page table");
  refused([](StepPlan& plan) { plan.tables.pop_back(); }, "page tables");
  refused([](StepPlan& plan) { plan.slices[1].first_position = -1; }, "slice");
}

TEST(StepPlan, CopiesInCachesThatTheModelHasNotAreRefused) {
  refused([](StepPlan& plan) { plan.copies[0].cache = 2; }, "cache");
  refused([](StepPlan& plan) { plan.copies[0].cache = -1; }, "cache");
}

TEST(StepPlan, ScoredRowsItDoesNotHaveAreRefused) {
  refused([](StepPlan& plan) { plan.score.rows[1].row = 4; }, "row");
  refused([](StepPlan& plan) { plan.score.rows[0].row = -1; }, "row");
  refused([](StepPlan& plan) { plan.score.rows[1].row = 1; }, "order");
  refused([](StepPlan& plan) { plan.score.rows[1].adjustments = 3; }, "lists");
  refused([](StepPlan& plan) { plan.score.rows[1].first_adjustment = 1; }, "lists");
  refused([](StepPlan& plan) { plan.score.rows[1].first_mask_word = -1; }, "lists");
  refused([](StepPlan& plan) { plan.score.rows[1].mask_words = 3; }, "lists");
}

TEST(StepPlan, AnUnknownModelIsRefused) {
  refused([](StepPlan& plan) { plan.model = static_cast<ModelSlot>(2); }, "model");
}

}  // namespace
}  // namespace llm_tp

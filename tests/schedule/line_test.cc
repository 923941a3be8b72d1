// The line of requests: who starts, who gets rows and pages, and who gives them back.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "fake_model.h"
#include "schedule/row_shares.h"

namespace llm_tp {
namespace {

constexpr std::int32_t kVocabulary = 24;

Request request_of(std::int32_t prompt, std::int32_t max_tokens, std::int32_t priority = 0) {
  Request request;
  request.prompt.assign(static_cast<std::size_t>(prompt), 1);
  request.max_tokens = max_tokens;
  request.priority = priority;
  return request;
}

std::vector<std::int32_t> rows(std::vector<RowShare> all, std::int32_t budget) {
  share_rows(all, budget);
  std::vector<std::int32_t> rows;
  for (const RowShare& share : all) rows.push_back(share.rows);
  return rows;
}

using Rows = std::vector<std::int32_t>;

TEST(RowShares, DecodingComesFirst) {
  EXPECT_EQ(rows({{1, true}, {100, false}, {1, true}}, 16), (Rows{1, 14, 1}));
  EXPECT_EQ(rows({{3, true}, {3, true}, {9, false}}, 4), (Rows{3, 1, 0}));
}

TEST(RowShares, TheFirstPromptGoesOnBesideAnyNumberThatDecode) {
  EXPECT_EQ(rows({{9, false}, {3, true}, {3, true}}, 4), (Rows{1, 3, 0}));
  EXPECT_EQ(rows({{9, false}, {1, true}}, 1), (Rows{1, 0}));
}

TEST(RowShares, ALongPromptLeavesHalfToThoseThatFitWhole) {
  EXPECT_EQ(rows({{1000, false}, {500, false}, {20, false}, {12, false}, {7, false}}, 64),
            (Rows{32, 0, 20, 12, 0}));
  EXPECT_EQ(rows({{1000, false}, {500, false}, {20, false}}, 64), (Rows{44, 0, 20}));
  EXPECT_EQ(rows({{1000, false}, {33, false}}, 64), (Rows{64, 0}));
  EXPECT_EQ(rows({{20, false}, {1000, false}, {20, false}}, 64), (Rows{20, 24, 20}));
}

RC_GTEST_PROP(RowShares, NoRowIsLostAndTheFirstGoesOn, ()) {
  std::vector<RowShare> all;
  const int count = *rc::gen::inRange(1, 12);
  for (int i = 0; i < count; ++i) {
    const bool decodes = *rc::gen::arbitrary<bool>();
    all.push_back({*rc::gen::inRange(1, decodes ? 9 : 300), decodes, 0});
  }
  const std::int32_t budget = *rc::gen::inRange(1, 200);
  share_rows(all, budget);
  std::int32_t given = 0, waiting = 0;
  for (const RowShare& share : all) {
    RC_ASSERT(share.rows >= 0 && share.rows <= share.waiting);
    given += share.rows, waiting += share.waiting;
  }
  RC_ASSERT(given == std::min(budget, waiting));
  RC_ASSERT(all[0].rows > 0);
}

/// The order in which requests of these priorities, which all wait, are started one by one.
std::vector<RequestId> order_of(const std::vector<std::int32_t>& priorities) {
  SchedulerLimits limits{64, 4, {{40}}, {}};
  limits.sequences = 1;
  Scheduler scheduler(limits);
  FakeModel model(kVocabulary, 4);
  for (const std::int32_t priority : priorities) scheduler.add(request_of(2, 1, priority));
  std::vector<RequestId> order;
  while (const auto plan = scheduler.next())
    for (const Progress& p : scheduler.commit(*plan, model.run(*plan))) order.push_back(p.request);
  return order;
}

TEST(Line, LowerPrioritiesGoFirstAndEqualOnesInOrder) {
  EXPECT_EQ(order_of({0, 1, -1, 0, 1, -1}), (std::vector<RequestId>{2, 5, 0, 3, 1, 4}));
}

TEST(Line, AStepOfPriorityLetsAHundredGoFirstAndNoMore) {
  std::vector<std::int32_t> priorities(300, 0);
  priorities[0] = 1;
  priorities[1] = 2;
  const std::vector<RequestId> order = order_of(priorities);
  EXPECT_EQ(std::find(order.begin(), order.end(), 0) - order.begin(), 98);  // of 2 to 99
  EXPECT_EQ(std::find(order.begin(), order.end(), 1) - order.begin(), 200);
}

RC_GTEST_PROP(Line, NoRequestIsOvertakenByMoreThanItsPrioritySays, ()) {
  const auto priorities =
      *rc::gen::container<std::vector<std::int32_t>>(400, rc::gen::element(-1, 0, 0, 0, 1));
  const std::vector<RequestId> order = order_of(priorities);
  RC_ASSERT(order.size() == priorities.size());
  std::vector<RequestId> started;
  for (const RequestId id : order) {
    const std::int32_t mine = priorities[static_cast<std::size_t>(id)];
    for (const std::int32_t above : {-1, 0, 1}) {
      const auto overtakers = std::count_if(started.begin(), started.end(), [&](RequestId other) {
        return other > id && priorities[static_cast<std::size_t>(other)] == above;
      });
      RC_ASSERT(overtakers <= Rank::kOvertakers * std::max(0, mine - above));
    }
    started.push_back(id);
  }
}

TEST(Line, ARequestStartsWithThePagesOfItsPromptAndOneMoreForEachThatRuns) {
  // Each may come to need all 64 pages; of its prompt there are four.
  Scheduler scheduler({512, 4, {{64}}, {}});
  FakeModel model(kVocabulary, 4);
  for (int i = 0; i < 20; ++i) scheduler.add(request_of(16, 240));
  const auto plan = scheduler.next();
  EXPECT_EQ(plan->slices.size(), 12U);  // 12 * (4 + 1) of 64
  EXPECT_EQ(scheduler.requests_waiting(), 8);
  EXPECT_EQ(scheduler.figures().waits_for, WaitsFor::kPages);
  scheduler.commit(*plan, model.run(*plan));
  int steps = 0;
  for (; const auto next = scheduler.next(); ++steps) scheduler.commit(*next, model.run(*next));
  // 239 tokens each in a cache that holds one whole request: even then it is no standstill.
  EXPECT_LT(steps, 20 * 245);
  EXPECT_GT(scheduler.figures().preemptions, 0);
}

TEST(Line, SequencesThatMayRunAreWhatTheFirstWaitsFor) {
  SchedulerLimits limits{64, 4, {{400}}, {}};
  limits.sequences = 3;
  Scheduler scheduler(limits);
  for (int i = 0; i < 4; ++i) scheduler.add(request_of(4, 4));
  scheduler.next();
  EXPECT_EQ(scheduler.requests_running(), 3);
  EXPECT_EQ(scheduler.figures().waits_for, WaitsFor::kSequences);
}

TEST(Line, WhoLacksPagesTakesThemFromTheLastInLine) {
  Scheduler scheduler({64, 4, {{20}}, {}});
  FakeModel model(kVocabulary, 4);
  const RequestId first = scheduler.add(request_of(12, 60)), low = scheduler.add(request_of(12, 60, 3)),
                  third = scheduler.add(request_of(12, 60));
  bool seen = false;
  while (const auto plan = scheduler.next()) {
    std::set<RequestId> told;
    for (const Progress& p : scheduler.commit(*plan, model.run(*plan))) told.insert(p.request);
    if (scheduler.figures().preemptions == 1 && !seen) {
      EXPECT_EQ(told, (std::set<RequestId>{first, third})) << low;
      seen = true;
    }
  }
  EXPECT_TRUE(seen);
}

/// The first in line is never held up: it takes its prompt's steps and one a token, whatever waits or runs.
TEST(Line, TheFirstAlwaysGoesOn) {
  Scheduler scheduler({8, 4, {{25}}, {}});
  FakeModel model(kVocabulary, 4);
  const std::int32_t prompt = 20, tokens = 70;
  std::set<RequestId> live;
  for (int i = 0; i < 12; ++i) live.insert(scheduler.add(request_of(prompt, tokens)));
  int steps_as_first = 0;
  while (const auto plan = scheduler.next()) {
    ++steps_as_first;
    for (const Progress& p : scheduler.commit(*plan, model.run(*plan))) {
      if (!p.finished) continue;
      if (p.request == *live.begin()) steps_as_first = 0;
      live.erase(p.request);
    }
    // Half of a step's rows at least, while it runs again what it ran before.
    ASSERT_LE(steps_as_first, (prompt + tokens) / 4 + 1 + tokens);
  }
  EXPECT_TRUE(live.empty());
}

/// Whoever was preempted comes back with ever more room, so it is not preempted again and again.
TEST(Line, PreemptionsGrowFewer) {
  Scheduler scheduler({64, 4, {{100}}, {}});
  FakeModel model(kVocabulary, 4);
  for (int i = 0; i < 60; ++i) scheduler.add(request_of(8, 150));
  while (const auto plan = scheduler.next()) scheduler.commit(*plan, model.run(*plan));
  EXPECT_LT(scheduler.figures().preemptions, 60 * 3);  // with the same room each time they are 226
}

TEST(Line, APreemptedRequestGoesOnFromPagesThatAreStillKept) {
  std::int64_t run[2] = {0, 0};
  for (const bool prefix_cache : {false, true}) {
    Scheduler scheduler({64, 4, {{40}}, {}, prefix_cache});
    FakeModel model(kVocabulary, 4);
    for (TokenId i = 0; i < 6; ++i) {
      Request request = request_of(20, 60);
      request.prompt[0] = i;
      scheduler.add(request);
    }
    while (const auto plan = scheduler.next()) {
      run[prefix_cache ? 1 : 0] += static_cast<std::int64_t>(plan->tokens.size());
      scheduler.commit(*plan, model.run(*plan));
    }
    EXPECT_GT(scheduler.figures().preemptions, 0);
  }
  EXPECT_GT(run[0], 6 * 79);
  EXPECT_LT(run[1], run[0]);
}

}  // namespace
}  // namespace llm_tp

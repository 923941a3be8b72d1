#include "schedule/scheduler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "base/error.h"
#include "fake_model.h"

namespace llm_tp {
namespace {

constexpr std::int32_t kVocabulary = 24;
const SchedulerLimits kRoomy{64, 4, {{400}}, {{400}}};

Request request_of(std::vector<TokenId> prompt, std::int32_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

/// What the fake model says greedily, without a scheduler.
std::vector<TokenId> greedy(std::vector<TokenId> tokens, std::int32_t count) {
  const FakeModel model(kVocabulary, 4);
  const std::size_t prompt = tokens.size();
  for (std::int32_t i = 0; i < count; ++i) {
    const std::vector<float> logits = model.logits(tokens);
    tokens.push_back(static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt), tokens.end()};
}

std::vector<std::vector<TokenId>> alone(const Request& request, SchedulerLimits limits = kRoomy) {
  Scheduler scheduler(limits);
  FakeModel model(kVocabulary, limits.page_tokens), draft(kVocabulary, limits.page_tokens, 0);
  const RequestId id = scheduler.add(request);
  return run_to_end(scheduler, model, &draft)[id];
}

TEST(Scheduler, GreedyIsTheModelsOwn) {
  for (const std::int32_t step_tokens : {1, 3, 64}) {
    SchedulerLimits limits = kRoomy;
    limits.step_tokens = step_tokens;
    EXPECT_EQ(alone(request_of({3, 1, 4, 1, 5, 9, 2, 6}, 30), limits)[0],
              greedy({3, 1, 4, 1, 5, 9, 2, 6}, 30));
  }
}

/// One request of each kind.
std::vector<Request> one_of_each() {
  std::vector<Request> all;
  const std::vector<TokenId> prompt{5, 6, 7, 5, 6, 7, 5};
  all.push_back(request_of(prompt, 25));
  Request sampled = request_of(prompt, 25);
  sampled.sampling.temperature = 1;
  sampled.sampling.seed = 9;
  sampled.choices = 3;
  all.push_back(sampled);
  Request beams = request_of(prompt, 20);
  beams.beams = Request::Beams{4, 3, 1.0, EarlyStopping::kFalse};
  beams.end_ids = {2};
  all.push_back(beams);
  Request contrastive = request_of(prompt, 20);
  contrastive.contrastive = Request::ContrastiveSearch{0.5, 4};
  all.push_back(contrastive);
  for (const SpeculationKind kind :
       {SpeculationKind::kNgram, SpeculationKind::kLookahead, SpeculationKind::kDraftModel}) {
    Request speculative = sampled;
    speculative.choices = 2;
    speculative.speculation = {kind, 5};
    all.push_back(speculative);
  }
  return all;
}

TEST(Scheduler, StrategiesInOneBatchGiveWhatTheyGiveAlone) {
  const std::vector<Request> requests = one_of_each();
  for (const std::int32_t step_tokens : {5, 200}) {
    Scheduler scheduler({step_tokens, 4, {{400}}, {{400}}});
    FakeModel model(kVocabulary, 4), draft(kVocabulary, 4, 0);
    std::vector<RequestId> ids;
    for (const Request& r : requests) ids.push_back(scheduler.add(r));
    Answers together = run_to_end(scheduler, model, &draft);
    for (std::size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(together[ids[i]], alone(requests[i])) << i;
  }
}

TEST(Scheduler, RunsWithTheLeastPagesThatARequestAsksFor) {
  for (const Request& r : one_of_each()) {
    const RequestNeeds needs = needs_of(r);
    const SchedulerLimits tight{64,
                                4,
                                {{static_cast<std::int32_t>(needs.main_pages(4))}},
                                {{static_cast<std::int32_t>(needs.draft_pages(4))}}};
    EXPECT_EQ(alone(r, tight), alone(r));
  }
}

/// What the fake model sees, and five guesses to take back.
constexpr std::int32_t kLookback = FakeModel::kWindow - 1 + 5;

TEST(Scheduler, GivingBackWhatNoLayerSeesChangesNothing) {
  for (const std::int32_t step_tokens : {3, 64})
    for (Request r : one_of_each()) {
      r.prompt.insert(r.prompt.end(), 30, 3);
      SchedulerLimits all = kRoomy;
      all.step_tokens = step_tokens;
      // Layers of one kind, and of two; with the least pages that the request asks for.
      for (const std::vector<CacheLimits>& caches :
           std::vector<std::vector<CacheLimits>>{{{0, kLookback}}, {{0, 0}, {0, kLookback}}}) {
        SchedulerLimits window = all;
        window.caches = window.draft_caches = caches;
        for (CacheLimits& cache : window.caches)
          cache.pages = static_cast<std::int32_t>(needs_of(r).main_pages(4, window.most_held_pages(cache)));
        for (CacheLimits& cache : window.draft_caches)
          cache.pages = static_cast<std::int32_t>(needs_of(r).draft_pages(4, window.most_held_pages(cache)));
        EXPECT_EQ(alone(r, window), alone(r, all));
      }
    }
}

TEST(Scheduler, ASequenceThatGoesOnForEverHoldsAWindowOfPages) {
  SchedulerLimits limits{16, 4, {{100}, {0, kLookback}}, {}};
  limits.caches[1].pages = static_cast<std::int32_t>(limits.most_held_pages(limits.caches[1]));
  ASSERT_LT(limits.caches[1].pages, 9);
  Scheduler scheduler(limits);
  FakeModel model(kVocabulary, 4);
  scheduler.add(request_of(std::vector<TokenId>(100, 1), 300));
  int steps = 0;
  for (; const auto plan = scheduler.next(); ++steps) {
    const PageTable &full = plan->tables.at(0), &window = plan->tables.at(1);
    EXPECT_EQ(full.pages_before, 0);
    EXPECT_EQ(full.pages, window.pages_before + window.pages);
    EXPECT_EQ(scheduler.pages_in_use(), full.pages + window.pages);
    if (plan->tokens.size() == 1) {
      EXPECT_LE(window.pages, 4);
    }
    scheduler.commit(*plan, model.run(*plan));
  }
  EXPECT_GT(steps, 300);
  EXPECT_EQ(scheduler.pages_in_use(), 0);
}

TEST(Scheduler, RefusesWhatNeverFits) {
  Scheduler scheduler({64, 4, {{2}}, {}});
  EXPECT_THROW(scheduler.add(request_of({1, 2, 3}, 7)), Error);
  EXPECT_NO_THROW(scheduler.add(request_of({1, 2, 3}, 6)));
}

TEST(Scheduler, ChoicesShareThePromptsPages) {
  Request request = request_of(std::vector<TokenId>(40, 1), 4);
  request.choices = 6;
  request.sampling.temperature = 1;
  Scheduler scheduler(kRoomy);
  FakeModel model(kVocabulary, 4);
  scheduler.add(request);
  int most = 0;
  while (const auto plan = scheduler.next()) {
    most = std::max(most, scheduler.pages_in_use());
    scheduler.commit(*plan, model.run(*plan));
  }
  EXPECT_EQ(most, 10 + 6);  // ten full pages of the prompt once, and one of its own for each
}

TEST(Scheduler, BeamsCopyAtMostOnePageEachStep) {
  Request request = request_of({1, 2, 3, 4, 5, 6, 7, 8, 9}, 30);
  request.beams = Request::Beams{4, 1, 1.0, EarlyStopping::kFalse};
  Scheduler scheduler(kRoomy);
  FakeModel model(kVocabulary, 4);
  scheduler.add(request);
  while (const auto plan = scheduler.next()) {
    EXPECT_LE(plan->copies.size(), 4U);
    scheduler.commit(*plan, model.run(*plan));
  }
  EXPECT_GT(scheduler.figures().pages_copied, 0);
}

TEST(Scheduler, ACancelledChoiceLeavesTheOthersAsTheyWere) {
  Request request = request_of({1, 2, 3}, 12);
  request.choices = 3;
  request.sampling.temperature = 1;
  const auto whole = alone(request);
  Scheduler scheduler(kRoomy);
  FakeModel model(kVocabulary, 4);
  const RequestId id = scheduler.add(request);
  std::vector<std::vector<TokenId>> got(3);
  while (const auto plan = scheduler.next())
    for (const Progress& p : scheduler.commit(*plan, model.run(*plan))) {
      got[static_cast<std::size_t>(p.choice)].push_back(p.row.token);
      if (p.choice == 1 && got[1].size() == 4) scheduler.cancel(id, 1);
    }
  EXPECT_EQ(got[0], whole[0]);
  EXPECT_EQ(got[1], std::vector<TokenId>(whole[1].begin(), whole[1].begin() + 4));
  EXPECT_EQ(got[2], whole[2]);
  EXPECT_EQ(scheduler.pages_in_use(), 0);
}

/// Choices whose guesses are made by a model are not at the same point between two steps.
TEST(Scheduler, AChoiceMayEndAtAnyMoment) {
  Request request = request_of({1, 2, 3, 4, 5}, 12);
  request.choices = 3;
  request.sampling.temperature = 1;
  request.speculation = {SpeculationKind::kDraftModel, 4};
  const auto whole = alone(request);
  for (int moment = 0; moment < 30; ++moment)
    for (std::int32_t choice = 0; choice < 3; ++choice) {
      Scheduler scheduler(kRoomy);
      FakeModel model(kVocabulary, 4), draft(kVocabulary, 4, 77);
      const RequestId id = scheduler.add(request);
      std::vector<std::vector<TokenId>> got(3);
      for (int step = 0; const auto plan = scheduler.next(); ++step) {
        for (const Progress& p :
             scheduler.commit(*plan, (plan->model == ModelSlot::kDraft ? draft : model).run(*plan)))
          got[static_cast<std::size_t>(p.choice)].push_back(p.row.token);
        if (step == moment) scheduler.cancel(id, choice);
      }
      for (std::int32_t other = 0; other < 3; ++other)
        if (other != choice) {
          EXPECT_EQ(got[static_cast<std::size_t>(other)], whole[static_cast<std::size_t>(other)]);
        }
      EXPECT_EQ(scheduler.pages_in_use(), 0);
    }
}

TEST(Scheduler, EveryTokenForbiddenIsAnErrorFinish) {
  Request request = request_of({1, 2}, 5);
  for (TokenId id = 0; id < kVocabulary; ++id) request.processors.suppress.push_back(id);
  for (const float temperature : {0.0F, 1.0F}) {
    request.sampling.temperature = temperature;
    Scheduler scheduler(kRoomy);
    FakeModel model(kVocabulary, 4);
    scheduler.add(request);
    const auto plan = scheduler.next();
    const auto progress = scheduler.commit(*plan, model.run(*plan));
    ASSERT_EQ(progress.size(), 1U);
    EXPECT_EQ(progress[0].finished, FinishReason::kError);
    EXPECT_FALSE(scheduler.next());
  }
}

TEST(Scheduler, EveryChoiceOfAPromptThatIsOnlyScoredEnds) {
  Request request = request_of({1, 2, 3}, 0);
  request.choices = 3;
  Scheduler scheduler(kRoomy);
  FakeModel model(kVocabulary, 4);
  scheduler.add(request);
  const auto plan = scheduler.next();
  const auto progress = scheduler.commit(*plan, model.run(*plan));
  ASSERT_EQ(progress.size(), 3U);
  for (std::int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(progress[static_cast<std::size_t>(i)].choice, i);
    EXPECT_EQ(progress[static_cast<std::size_t>(i)].finished, FinishReason::kLength);
  }
  EXPECT_EQ(scheduler.pages_in_use(), 0);
  EXPECT_FALSE(scheduler.next());
}

TEST(Scheduler, NoMoreSequencesRunThanMay) {
  SchedulerLimits limits = kRoomy;
  limits.sequences = 5;
  Scheduler scheduler(limits);
  FakeModel model(kVocabulary, 4);
  for (std::int32_t i = 0; i < 12; ++i) {
    Request request = request_of({1, 2, i}, 3 + i);
    request.choices = 1 + i % 3;
    scheduler.add(request);
  }
  std::int64_t most = 0;
  while (const auto plan = scheduler.next()) {
    most = std::max(most, scheduler.sequences_running());
    scheduler.commit(*plan, model.run(*plan));
  }
  EXPECT_EQ(most, 5);
}

RC_GTEST_PROP(Speculation, GivesTheBitsOfPlainDecoding, ()) {
  Request request = request_of(
      *rc::gen::nonEmpty(rc::gen::container<std::vector<TokenId>>(rc::gen::inRange(0, kVocabulary))),
      *rc::gen::inRange(1, 40));
  request.sampling.temperature = *rc::gen::element(0.0F, 0.3F, 1.0F);
  request.sampling.top_k = *rc::gen::element(0, 3);
  request.sampling.seed = *rc::gen::inRange<std::uint64_t>(0, 1000);
  request.processors.repetition_penalty = *rc::gen::element(1.0F, 1.3F);
  request.choices = *rc::gen::inRange(1, 4);
  request.end_ids = {*rc::gen::inRange(0, kVocabulary)};
  const auto plain = alone(request);
  for (const SpeculationKind kind :
       {SpeculationKind::kNgram, SpeculationKind::kLookahead, SpeculationKind::kDraftModel}) {
    request.speculation = {kind, *rc::gen::inRange(1, 9)};
    RC_ASSERT(alone(request) == plain);
  }
}

TEST(Speculation, ADraftModelThatIsTheModelIsAlwaysRight) {
  Request request = request_of({1, 2, 3}, 41);
  request.sampling.temperature = 1;  // both draw with the same numbers
  request.speculation = {SpeculationKind::kDraftModel, 4};
  Scheduler scheduler(kRoomy);
  FakeModel model(kVocabulary, 4), draft(kVocabulary, 4, 0);
  scheduler.add(request);
  run_to_end(scheduler, model, &draft);
  const StrategyFigures& figures = scheduler.figures().strategies;
  EXPECT_GT(figures.drafted, 30);
  EXPECT_EQ(figures.accepted, figures.drafted);
}

/// Chi-square of sampled pairs of tokens under speculation against the model's exact probabilities.
TEST(Speculation, SampledTokensAreDistributedAsWithoutIt) {
  constexpr std::int32_t kFew = 6, kDraws = 4000;
  FakeModel exact(kFew, 4);
  const auto probabilities = [&](const std::vector<TokenId>& tokens) {
    std::vector<double> p;
    double sum = 0;
    for (const float l : exact.logits(tokens)) p.push_back(std::exp(l / 4.0)), sum += p.back();
    for (double& v : p) v /= sum;
    return p;
  };
  const std::vector<TokenId> prompt{1, 2, 3, 1, 2};
  for (const SpeculationKind kind : {SpeculationKind::kNgram, SpeculationKind::kDraftModel}) {
    Request request = request_of(prompt, 3);
    request.sampling.temperature = 4;
    request.choices = kDraws;
    request.speculation = {kind, 4};
    Scheduler scheduler({4096, 4, {{20000}}, {{20000}}});
    FakeModel model(kFew, 4), draft(kFew, 4, 77);
    const RequestId id = scheduler.add(request);
    std::map<std::pair<TokenId, TokenId>, int> seen;
    Answers answers = run_to_end(scheduler, model, &draft);
    for (const auto& tokens : answers[id]) ++seen[{tokens.at(1), tokens.at(2)}];
    double square = 0;
    std::map<std::pair<TokenId, TokenId>, double> expected;
    const auto p0 = probabilities(prompt);
    for (TokenId a = 0; a < kFew; ++a) {
      auto tokens = prompt;
      tokens.push_back(a);
      const auto p1 = probabilities(tokens);
      for (TokenId b = 0; b < kFew; ++b) {
        tokens.push_back(b);
        const auto p2 = probabilities(tokens);
        tokens.pop_back();
        for (TokenId c = 0; c < kFew; ++c)
          expected[{b, c}] += kDraws * p0[static_cast<std::size_t>(a)] * p1[static_cast<std::size_t>(b)] *
                              p2[static_cast<std::size_t>(c)];
      }
    }
    for (const auto& [pair, want] : expected) square += (seen[pair] - want) * (seen[pair] - want) / want;
    EXPECT_LT(square, 35 + 4.5 * std::sqrt(70.0));  // 35 degrees of freedom
    EXPECT_GT(scheduler.figures().strategies.accepted, 0);
    EXPECT_LT(scheduler.figures().strategies.accepted, scheduler.figures().strategies.drafted);
  }
}

}  // namespace
}  // namespace llm_tp

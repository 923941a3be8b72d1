#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>

#include "fake_model.h"

namespace llm_tp {
namespace {

constexpr std::int32_t kVocabulary = 24, kPageTokens = 4, kMostGuesses = 5;
/// What the fake model sees, and guesses to take back.
constexpr std::int32_t kLookback = FakeModel::kWindow - 1 + kMostGuesses;

/// Forbids a sixth of the vocabulary, which one by the sum of the tokens before.
class SumGuide final : public Guide {
 public:
  State start() override { return 0; }
  State after(State state, TokenId token) override { return (state + token) % 6; }
  const TokenMask& mask(State state) override {
    mask_.kind = MaskKind::kAllowed;
    mask_.words.assign(1, 0);
    for (TokenId id = 0; id < kVocabulary; ++id)
      if (id % 6 != state) mask_.words[0] |= 1u << id;
    return mask_;
  }
  bool is_over(State) override { return false; }
  void forced(State state, std::int32_t most, std::vector<TokenId>& out) override {
    if (state == 3) out.insert(out.end(), static_cast<std::size_t>(std::min(most, 2)), 1);
  }

 private:
  TokenMask mask_;
};

/// One outcome, as far as the way it was run must not matter.
struct Seen {
  std::int32_t position = 0;
  TokenId token = -1;
  double logprob = 0, log_sum_exp = 0;
  std::optional<double> target_logprob, score;
  std::vector<float> state;
  std::optional<FinishReason> finished;
  friend bool operator==(const Seen&, const Seen&) = default;
};
using Choices = std::map<std::int32_t, std::vector<Seen>>;

void note(Choices& choices, const Progress& p) {
  choices[p.choice].push_back({p.position, p.row.token, p.row.logprob, p.row.log_sum_exp,
                               p.row.target_logprob, p.score, p.row.state, p.finished});
}

class Draw {
 public:
  explicit Draw(std::uint32_t seed) : random_(seed) {}
  std::int32_t below(std::int32_t end) {
    return static_cast<std::int32_t>(random_() % static_cast<std::uint32_t>(end));
  }
  std::vector<TokenId> tokens(std::int32_t count, std::int32_t kinds) {
    std::vector<TokenId> all;
    for (std::int32_t i = 0; i < count; ++i) all.push_back(below(kinds));
    return all;
  }

 private:
  std::mt19937 random_;
};

/// A request of any kind; some begin alike.
Request random_request(Draw& draw) {
  Request request;
  request.prompt = draw.below(3) == 0 ? draw.tokens(1 + draw.below(30), 3)
                                      : std::vector<TokenId>(static_cast<std::size_t>(1 + draw.below(30)), 2);
  request.max_tokens = 1 + draw.below(40);
  request.adapter = draw.below(4) == 0 ? 1 : kNoAdapter;
  request.sampling.temperature = draw.below(2) == 0 ? 0.0F : 1.0F;
  request.sampling.seed = static_cast<std::uint64_t>(draw.below(50));
  request.processors.repetition_penalty = draw.below(3) == 0 ? 1.3F : 1.0F;
  request.processors.no_repeat_ngram_size = draw.below(4) == 0 ? 3 : 0;
  if (draw.below(2) == 0) request.end_ids = {draw.below(kVocabulary)};
  if (draw.below(4) == 0) request.guide = std::make_shared<SumGuide>();
  switch (draw.below(10)) {
    case 0:
      request.beams = Request::Beams{2, 2, 1.0, EarlyStopping::kFalse};
      break;
    case 1:
      request.contrastive = Request::ContrastiveSearch{0.5, 2};
      break;
    case 2:
      request.embedding = EmbeddingSettings{draw.below(2) == 0 ? Pooling::kMean : Pooling::kLast, true};
      request.max_tokens = 0;
      break;
    case 3:
      request.score_prompt = true;
      request.max_tokens = draw.below(5);
      break;
    case 4:
    case 5:
    case 6:
      request.speculation = {static_cast<SpeculationKind>(1 + draw.below(3)), 1 + draw.below(kMostGuesses)};
      [[fallthrough]];
    default:
      request.choices = 1 + draw.below(6) / 4 + draw.below(6) / 5;
  }
  return request;
}

Choices alone(const Request& request) {
  Scheduler scheduler({64, kPageTokens, {{400}}, {{400}}});
  FakeModel model(kVocabulary, kPageTokens), draft(kVocabulary, kPageTokens, 77);
  scheduler.add(request);
  Choices choices;
  while (const auto plan = scheduler.next())
    for (const Progress& p :
         scheduler.commit(*plan, (plan->model == ModelSlot::kDraft ? draft : model).run(*plan)))
      note(choices, p);
  return choices;
}

struct Way {
  std::int32_t step_tokens = 16;
  std::vector<std::int32_t> lookbacks;  // of the caches
  bool prefix_cache = false;
  std::int64_t sequences = 1000;
};

/// As many pages as the neediest of the requests alone, and no more.
SchedulerLimits tight(const Way& way, const std::vector<Request>& requests) {
  SchedulerLimits limits;
  limits.step_tokens = way.step_tokens;
  limits.page_tokens = kPageTokens;
  limits.prefix_cache = way.prefix_cache;
  limits.sequences = way.sequences;
  for (const std::int32_t lookback : way.lookbacks) {
    CacheLimits main{0, lookback}, draft{0, lookback};
    for (const Request& request : requests) {
      const std::int64_t most = limits.most_held_pages(main);
      main.pages = std::max(main.pages, needs_of(request).main_pages(kPageTokens, most));
      draft.pages = std::max(draft.pages, needs_of(request).draft_pages(kPageTokens, most));
    }
    limits.caches.push_back(main);
    limits.draft_caches.push_back(draft);
  }
  return limits;
}

class PreemptionWays : public testing::TestWithParam<Way> {};

/// Whatever arrives and leaves, and however short pages are: what a request says is what it says alone, no
/// page is lost or held twice, and all come to their end.
TEST_P(PreemptionWays, ChangesNoBitAndLosesNoPage) {
  constexpr int kOperations = 20000;
  Draw draw(11);
  std::vector<Request> kinds;
  std::vector<Choices> expected;
  for (int i = 0; i < 80; ++i) {
    kinds.push_back(random_request(draw));
    expected.push_back(alone(kinds.back()));
  }
  Scheduler scheduler(tight(GetParam(), kinds));
  FakeModel model(kVocabulary, kPageTokens), draft(kVocabulary, kPageTokens, 77);
  struct Asked {
    std::size_t kind;
    Choices seen;
    std::vector<std::int32_t> left;  // choices that were cancelled
  };
  std::map<RequestId, Asked> asked;
  std::int64_t finished = 0;
  const auto check = [&](const Asked& one) {
    const Choices& whole = expected[one.kind];
    for (const auto& [choice, seen] : one.seen) {
      const std::vector<Seen>& all = whole.at(choice);
      ASSERT_LE(seen.size(), all.size());
      ASSERT_TRUE(std::equal(seen.begin(), seen.end(), all.begin())) << "request of kind " << one.kind;
    }
  };
  const auto is_over = [&](const Asked& one) {
    for (const auto& [choice, all] : expected[one.kind]) {
      if (std::find(one.left.begin(), one.left.end(), choice) != one.left.end()) continue;
      const auto seen = one.seen.find(choice);
      if (seen == one.seen.end() || seen->second.size() < all.size()) return false;
    }
    return true;
  };
  const auto step = [&] {
    const auto plan = scheduler.next();
    if (!plan) return false;
    for (const Progress& p :
         scheduler.commit(*plan, (plan->model == ModelSlot::kDraft ? draft : model).run(*plan)))
      note(asked.at(p.request).seen, p);
    for (auto at = asked.begin(); at != asked.end();) {
      if (!is_over(at->second)) {
        ++at;
        continue;
      }
      check(at->second);
      ++finished;
      at = asked.erase(at);
    }
    return true;
  };
  const auto any = [&] {
    auto at = asked.begin();
    std::advance(at, draw.below(static_cast<std::int32_t>(asked.size())));
    return at;
  };
  for (int operation = 0; operation < kOperations; ++operation) {
    const std::int32_t kind = draw.below(100);
    if (kind < 15 && asked.size() < 40) {
      const auto number = static_cast<std::size_t>(draw.below(static_cast<std::int32_t>(kinds.size())));
      Request request = kinds[number];
      request.priority = draw.below(5) == 0 ? draw.below(5) - 2 : 0;
      asked[scheduler.add(request)] = {number, {}, {}};
    } else if (kind < 16 && !asked.empty()) {
      const auto at = any();
      check(at->second);
      scheduler.cancel(at->first);
      asked.erase(at);
    } else if (kind < 19 && !asked.empty()) {
      const auto at = any();
      const Request& request = kinds[at->second.kind];
      const std::int32_t choice = draw.below(answers_of(request));
      // Only one that has said something is known to have begun.
      if (!request.beams && at->second.seen.contains(choice)) {
        scheduler.cancel(at->first, choice);
        at->second.left.push_back(choice);
        if (is_over(at->second)) {
          scheduler.cancel(at->first);
          asked.erase(at);
        }
      }
    } else {
      step();
    }
    ASSERT_NO_THROW(scheduler.check_accounts()) << "operation " << operation;
    if (testing::Test::HasFatalFailure()) return;
  }
  for (int steps = 0; step(); ++steps) ASSERT_LT(steps, 5000) << "they do not come to an end";
  EXPECT_TRUE(asked.empty()) << asked.size() << " wait for ever";
  EXPECT_EQ(scheduler.pages_in_use(), 0);
  EXPECT_EQ(scheduler.requests_waiting() + scheduler.requests_running(), 0);
  scheduler.check_accounts();
  EXPECT_GT(scheduler.figures().preemptions, 5);
  EXPECT_GT(finished, 500);
}

/// The least room that a request is taken for is enough to preempt another and to go on after it.
TEST_P(PreemptionWays, TwoOfAKindGetByWithTheRoomOfOne) {
  Draw draw(12);
  std::int64_t preemptions = 0;
  for (int i = 0; i < 150; ++i) {
    const Request request = random_request(draw);
    const Choices whole = alone(request);
    Scheduler scheduler(tight(GetParam(), {request}));
    FakeModel model(kVocabulary, kPageTokens), draft(kVocabulary, kPageTokens, 77);
    std::map<RequestId, Choices> seen;
    scheduler.add(request);
    scheduler.add(request);
    while (const auto plan = scheduler.next()) {
      for (const Progress& p :
           scheduler.commit(*plan, (plan->model == ModelSlot::kDraft ? draft : model).run(*plan)))
        note(seen[p.request], p);
      scheduler.check_accounts();
    }
    EXPECT_EQ(seen[0], whole) << i;
    EXPECT_EQ(seen[1], whole) << i;
    preemptions += scheduler.figures().preemptions;
  }
  EXPECT_GT(preemptions, 2);
}

/// Also while one sequence runs the beginning again for all.
TEST(Preemption, AChoiceMayEndAtAnyMomentOfIt) {
  Request longer, choices;
  longer.prompt.assign(8, 3);
  longer.max_tokens = 60;
  choices.prompt.assign(14, 2);
  choices.max_tokens = 20;
  choices.choices = 3;
  choices.sampling.temperature = 1;
  const Choices whole = alone(choices);
  std::int64_t preemptions = 0;
  for (int moment = 0; moment < 120; ++moment)
    for (std::int32_t choice = 0; choice < 3; ++choice) {
      Scheduler scheduler(tight({5, {0}, false}, {longer, choices}));
      FakeModel model(kVocabulary, kPageTokens);
      scheduler.add(longer);
      const RequestId id = scheduler.add(choices);
      Choices seen;
      for (int step = 0; const auto plan = scheduler.next(); ++step) {
        for (const Progress& p : scheduler.commit(*plan, model.run(*plan)))
          if (p.request == id) note(seen, p);
        if (step == moment) scheduler.cancel(id, choice);
        scheduler.check_accounts();
      }
      for (std::int32_t other = 0; other < 3; ++other)
        if (other != choice) {
          ASSERT_EQ(seen[other], whole.at(other)) << moment;
        }
      preemptions += scheduler.figures().preemptions;
    }
  EXPECT_GT(preemptions, 300);
}

INSTANTIATE_TEST_SUITE_P(Ways, PreemptionWays,
                         testing::Values(Way{16, {0}, false}, Way{16, {0}, true}, Way{64, {0}, true, 5},
                                         Way{5, {0, kLookback}, true}, Way{16, {kLookback}, false},
                                         Way{16, {0, kLookback, kLookback - 2}, true}));

}  // namespace
}  // namespace llm_tp

// Requests that share a KV cache far too small for all of them say what they say in one that holds them all.
#include <gtest/gtest.h>

#include <map>
#include <tuple>
#include <vector>

#include "comm/local_group.h"
#include "engine/engine.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

struct Answer {
  std::map<std::int32_t, std::vector<TokenId>> tokens;  // by choice
  std::map<std::int32_t, std::vector<double>> logprobs;
  std::vector<float> embedding;
  friend bool operator==(const Answer&, const Answer&) = default;
};

/// Two requests of each kind that keep the cache busy for long.
std::vector<Request> requests_of_all_kinds() {
  std::vector<Request> all;
  for (TokenId salt = 0; salt < 2; ++salt) {
    Request plain;
    for (TokenId i = 0; i < 20; ++i) plain.prompt.push_back(1 + (i * (7 + salt)) % 60);
    plain.max_tokens = 50;
    plain.processors.repetition_penalty = 1.1F;
    all.push_back(plain);
    Request choices = plain;
    choices.sampling.temperature = 1;
    choices.sampling.seed = 5;
    choices.choices = 2;
    all.push_back(choices);
    for (const SpeculationKind kind : {SpeculationKind::kNgram, SpeculationKind::kDraftModel}) {
      Request guesses = choices;
      guesses.speculation = {kind, 4};
      all.push_back(guesses);
    }
    Request beams = plain;
    beams.beams = Request::Beams{2, 2, 1.0, EarlyStopping::kFalse};
    all.push_back(beams);
    Request contrastive = plain;
    contrastive.contrastive = Request::ContrastiveSearch{0.5, 2};
    all.push_back(contrastive);
    Request embedding = plain;
    embedding.prompt.insert(embedding.prompt.end(), 60, 9);
    embedding.max_tokens = 0;
    embedding.embedding = EmbeddingSettings{};
    all.push_back(embedding);
  }
  return all;
}

std::vector<Answer> run(const std::string& model, int world, LoadPlan load, ScheduleFigures& figures) {
  const std::vector<Request> requests = requests_of_all_kinds();
  std::vector<Answer> answers(requests.size());
  EngineConfig config;
  config.model = model;
  config.generation.draft_model = model;
  config.threads = 1;
  load.draft = true;
  LocalGroup(world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), world, "test"};
    run_engine(
        group, config, [&](ModelFiles&) { return load; },
        [&](Leader& leader, const ModelFiles&, double) {
          std::map<RequestId, std::size_t> index;
          for (std::size_t i = 0; i < requests.size(); ++i) index[leader.scheduler().add(requests[i])] = i;
          leader.run([&](const Progress& p) {
            Answer& answer = answers[index.at(p.request)];
            answer.embedding = p.row.state;
            if (!p.new_token) return;
            answer.tokens[p.choice].push_back(p.row.token);
            answer.logprobs[p.choice].push_back(p.row.logprob);
          });
          leader.scheduler().check_accounts();
          EXPECT_EQ(leader.scheduler().pages_in_use(), 0);
          figures = leader.scheduler().figures();
        });
  });
  return answers;
}

class Preemption : public testing::TestWithParam<std::tuple<std::string, int, bool>> {};

TEST_P(Preemption, ChangesNoBitOfAnyKindOfRequest) {
  const auto& [model, world, prefix_cache] = GetParam();
  ScheduleFigures calm, short_of_pages;
  const std::vector<Answer> undisturbed = run(repository_path(model), 1, {4000, 64, 40}, calm);
  LoadPlan tight{64, 64, 6};  // ten pages; the neediest request takes nine
  tight.prefix_cache = prefix_cache;
  const std::vector<Answer> disturbed = run(repository_path(model), world, tight, short_of_pages);
  EXPECT_EQ(calm.preemptions, 0);
  EXPECT_GT(short_of_pages.preemptions, 2);
  for (std::size_t i = 0; i < undisturbed.size(); ++i) EXPECT_EQ(disturbed[i], undisturbed[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(Models, Preemption,
                         testing::Values(std::tuple{"models/harbour/hf", 2, true},
                                         std::tuple{"tests/golden/models/gemma3", 1, false}));

}  // namespace
}  // namespace llm_tp

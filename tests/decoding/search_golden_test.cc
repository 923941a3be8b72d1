// Every search strategy against Hugging Face's generate(): the reference cases of one model run as one batch,
// so strategies of all kinds share their steps, over one to three ranks.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "comm/local_group.h"
#include "commands/generation.h"
#include "engine/engine.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

using nlohmann::json;

struct Case {
  std::string kind, name;
  json data;
};

/// The cases of one model from tests/golden/decoding.
std::vector<Case> cases_of(const std::string& model) {
  std::vector<Case> cases;
  for (const std::string kind : {"greedy", "beam", "contrastive"}) {
    std::ifstream file(golden_folder() + "/decoding/" + kind + ".json");
    for (const json& c : json::parse(file))
      if (c.at("model") == model) cases.push_back({kind, kind + " " + c.at("options").dump(), c});
  }
  return cases;
}

std::string joined(const json& ids) {
  std::string text;
  for (const json& id : ids) text += (text.empty() ? "" : ",") + id.dump();
  return text;
}

/// generate()'s options as the configuration's keys.
EngineConfig config_of(const std::string& model, const json& options) {
  EngineConfig config;
  const Origin origin{OriginKind::kFlag, "test"};
  const auto set = [&](const std::string& key, const std::string& value) {
    set_key(config, "generation." + key, value, origin);
  };
  config.model = golden_folder() + "/models/" + model;
  config.threads = 1;
  config.kv_dtype = KvDType::kF32;
  config.generation.ignore_eos = !options.contains("eos_token_id") || options.at("eos_token_id").is_null();
  for (const auto& [key, value] : options.items()) {
    std::string text;
    if (key == "eos_token_id") {
      if (!value.is_null()) set("eos_token_ids", joined(value));
    } else if (key == "sequence_bias") {
      for (const json& entry : value)
        text += (text.empty() ? "" : ";") + joined(entry.at(0)) + ":" + entry.at(1).dump();
      set(key, text);
    } else if (key == "bad_words_ids") {
      for (const json& word : value) text += (text.empty() ? "" : ";") + joined(word);
      set(key, text);
    } else {
      const std::string name = key == "max_new_tokens"   ? "max_tokens"
                               : key == "min_new_tokens" ? "min_tokens"
                                                         : key;
      set(name, value.is_array()    ? joined(value)
                : value.is_string() ? value.get<std::string>()
                                    : value.dump());
    }
  }
  return config;
}

struct Answer {
  std::vector<std::vector<TokenId>> tokens;  // by choice
  std::vector<double> scores;
};

/// All cases as one batch on `world` ranks.
std::vector<Answer> run_all(const std::string& model, const std::vector<Case>& cases, int world) {
  std::vector<Answer> answers(cases.size());
  LocalGroup(world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), world, "test"};
    std::vector<Request> requests;
    const EngineConfig engine = config_of(model, json::object());
    const auto prepare = [&](ModelFiles& files) {
      LoadPlan all;
      all.most_rows = 256;
      all.sequences = 0;
      for (const Case& c : cases) {
        const EngineConfig config = config_of(model, c.data.at("options"));
        GenerationPlan plan = GenerationPlan::of(config, files);
        plan.set_prompt(c.data.at("prompt").get<std::vector<TokenId>>(), files.shape.vocabulary);
        const LoadPlan room = plan.room(config);
        all.kv_tokens += room.kv_tokens;
        all.sequences += room.sequences;
        requests.push_back(plan.request);
      }
      return all;
    };
    run_engine(group, engine, prepare, [&](Leader& leader, const ModelFiles&, double) {
      std::map<RequestId, std::size_t> index;
      for (std::size_t i = 0; i < requests.size(); ++i) index[leader.scheduler().add(requests[i])] = i;
      leader.run([&](const Progress& progress) {
        Answer& answer = answers[index.at(progress.request)];
        answer.tokens.resize(std::max(answer.tokens.size(), static_cast<std::size_t>(progress.choice) + 1));
        if (progress.new_token) answer.tokens.back().push_back(progress.row.token);
        if (progress.score) answer.scores.push_back(*progress.score);
      });
      EXPECT_EQ(leader.scheduler().pages_in_use(), 0);
    });
  });
  return answers;
}

class SearchGolden : public testing::TestWithParam<std::tuple<std::string, int>> {};

TEST_P(SearchGolden, IdsAndScoresAreThoseOfTransformers) {
  const auto& [model, world] = GetParam();
  const std::vector<Case> cases = cases_of(model);
  ASSERT_GT(cases.size(), 10U);
  const std::vector<Answer> answers = run_all(model, cases, world);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const json& want = cases[i].data.at("new_ids");
    if (cases[i].kind == "beam") {
      EXPECT_EQ(answers[i].tokens, want.get<std::vector<std::vector<TokenId>>>()) << cases[i].name;
      const auto scores = cases[i].data.at("sequences_scores").get<std::vector<double>>();
      ASSERT_EQ(answers[i].scores.size(), scores.size()) << cases[i].name;
      for (std::size_t s = 0; s < scores.size(); ++s)
        EXPECT_NEAR(answers[i].scores[s], scores[s], 1e-4 * std::max(1.0, std::abs(scores[s])))
            << cases[i].name;
    } else {
      EXPECT_EQ(answers[i].tokens.at(0), want.get<std::vector<TokenId>>()) << cases[i].name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SearchGolden,
                         testing::Combine(testing::Values("llama2_mha", "heads_9_3", "llama_biases"),
                                          testing::Values(1, 2, 3)));

}  // namespace
}  // namespace llm_tp

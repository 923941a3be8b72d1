// The engine from a configuration to tokens, on ranks that are threads.
#include <gtest/gtest.h>

#include <map>

#include "comm/local_group.h"
#include "engine/completion.h"
#include "engine/engine.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

/// As the references were computed: exact activations, an exact cache.
EngineConfig exact(const std::string& model) {
  EngineConfig config;
  config.model = model;
  config.threads = 1;
  config.kv_dtype = KvDType::kF32;
  config.activations = Activations::kF32;
  return config;
}

TEST(Activations, AutoIsExactInNarrowModelsAlone) {
  ModelShape shape;
  for (const auto& [hidden, kind] : {std::pair<std::int64_t, ActivationKind>{64, ActivationKind::kF32},
                                     {511, ActivationKind::kF32},
                                     {512, ActivationKind::kInt8},
                                     {8192, ActivationKind::kInt8}}) {
    shape.hidden = hidden;
    EXPECT_EQ(activations_of(Activations::kAuto, shape), kind) << hidden;
    EXPECT_EQ(activations_of(Activations::kF32, shape), ActivationKind::kF32);
    EXPECT_EQ(activations_of(Activations::kInt8, shape), ActivationKind::kInt8);
  }
}

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<double> logprobs;
  std::string text;
  friend bool operator==(const Answer&, const Answer&) = default;
};

/// Runs the requests at once on `world` ranks. Rows of a step are limited by the prefill chunk.
std::vector<Answer> answers(int world, const EngineConfig& config, const std::vector<Request>& requests) {
  std::vector<Answer> all(requests.size());
  LoadPlan load;
  load.sequences = static_cast<std::int64_t>(requests.size());
  load.most_rows = config.prefill_chunk;
  for (const Request& r : requests)
    load.kv_tokens += static_cast<std::int64_t>(r.prompt.size()) + r.max_tokens;
  LocalGroup(world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), world, "host"};
    run_engine(
        group, config, [&](ModelFiles&) { return load; },
        [&](Leader& leader, const ModelFiles& files, double) {
          std::map<RequestId, std::size_t> index;
          std::vector<Completion> completions;
          for (const Request& request : requests) {
            index[leader.scheduler().add(request)] = completions.size();
            completions.emplace_back(files.tokenizer.get(), std::vector<std::string>{}, false);
          }
          leader.run([&](const Progress& p) { completions.at(index.at(p.request)).push(p); });
          for (std::size_t i = 0; i < completions.size(); ++i) {
            for (const Completion::Token& token : completions[i].tokens()) {
              all[i].tokens.push_back(token.id);
              all[i].logprobs.push_back(token.logprob);
            }
            all[i].text = completions[i].text();
          }
        });
  });
  return all;
}

Request greedy(std::vector<TokenId> prompt, std::size_t tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = static_cast<std::int32_t>(tokens);
  return request;
}

TEST(RunEngine, GreedyIdsAreThoseOfHuggingFaceOnAnyNumberOfRanks) {
  for (const GoldenCase& golden : {load_golden_model("heads_9_3"), load_golden_model("llama_biases"),
                                   load_golden_model("qwen2_tied"), load_golden_gguf("Q4_0")}) {
    std::vector<Request> requests;
    for (std::size_t i = 0; i < golden.prompts.size(); ++i)
      requests.push_back(greedy(golden.prompts[i], golden.greedy[i].size()));
    for (const int world : {1, 2, 3, 5}) {
      const std::vector<Answer> all = answers(world, exact(golden.model), requests);
      for (std::size_t i = 0; i < requests.size(); ++i)
        EXPECT_EQ(all[i].tokens, golden.greedy[i])
            << golden.name << ", prompt " << i << ", " << world << " ranks";
    }
  }
}

TEST(RunEngine, SevenRequestsAtOnceGetTheTokensAndProbabilitiesTheyGetAlone) {
  const GoldenCase golden = load_golden_gguf("Q4_1");
  EngineConfig config;
  config.model = golden.model;
  config.threads = 1;
  config.prefill_chunk = 11;  // so that prompts come in chunks beside decoded rows
  std::vector<Request> requests;
  for (std::int32_t i = 0; i < 7; ++i) {
    Request request = greedy({}, static_cast<std::size_t>(3 + 2 * i));
    for (std::int32_t t = 0; t < 1 + 6 * i; ++t) request.prompt.push_back((i * 37 + t * 11 + 1) % 100);
    if (i % 2 == 1) request.sampling.temperature = 0.8F;
    request.sampling.seed = 5;
    request.stream = i;
    requests.push_back(std::move(request));
  }
  std::vector<Answer> alone;
  for (const Request& request : requests) alone.push_back(answers(1, config, {request}).front());
  for (const int world : {1, 3}) EXPECT_EQ(answers(world, config, requests), alone) << world << " ranks";
}

TEST(RunEngine, HarbourTellsItsReferenceTexts) {
  std::vector<Request> requests;
  std::vector<std::string> texts;
  const ModelFiles files = ModelFiles::open(repository_path("models/harbour/hf"), true);
  for (const HarbourPrompt& prompt : load_harbour_prompts()) {
    EXPECT_EQ(files.tokenizer->encode(prompt.prompt, true), prompt.prompt_ids) << prompt.name;
    requests.push_back(greedy(prompt.prompt_ids, prompt.greedy.size()));
    requests.back().end_ids = files.end_ids;
    texts.push_back(prompt.text.substr(0, prompt.text.find("<|im_end|>")));  // the references go on after it
  }
  for (const char* model : {"models/harbour/hf", "models/harbour/harbour-bf16.gguf"}) {
    const std::vector<Answer> all = answers(2, exact(repository_path(model)), requests);
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(all[i].text, texts[i]) << model;
  }
}

LoadPlan nothing_loaded(ModelFiles&) {
  ADD_FAILURE() << "the engine came as far as its requests";
  return {};
}

/// Every one of three ranks gets the same AgreedError.
void refused_by_all(const EngineConfig& config, ExitCode code, const std::vector<std::string>& words,
                    const std::function<LoadPlan(ModelFiles&)>& prepare = nothing_loaded) {
  LocalGroup(3).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), 3, "host"};
    try {
      run_engine(group, config, prepare,
                 [](Leader&, const ModelFiles&, double) { ADD_FAILURE() << "the engine started"; });
      ADD_FAILURE() << "no error";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      for (const std::string& word : words)
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  });
}

TEST(RunEngine, PagesThatWindowedLayersGiveBackChangeNoBit) {
  // Texts several times as long as the window of 12 and what is held for cuts; the sequences' pages are taken
  // by others as they are given back.
  for (const char* name : {"gemma2", "gemma3"}) {
    EngineConfig config = exact(golden_folder() + "/models/" + name);
    std::vector<Request> requests;
    for (TokenId first : {3, 4, 5}) {
      std::vector<TokenId> prompt;
      for (TokenId i = 0; i < 150 + first; ++i) prompt.push_back(3 + (first * i * i + i) % 60);
      requests.push_back(greedy(std::move(prompt), 60));
    }
    std::vector<Answer> expected;
    // In one step, the whole prompt's pages are held.
    config.prefill_chunk = 1024;
    for (const Request& request : requests) expected.push_back(answers(1, config, {request})[0]);
    for (const int world : {1, 2, 3})
      for (const int chunk : {16, 100}) {
        config.prefill_chunk = chunk;
        EXPECT_EQ(answers(world, config, requests), expected) << name << ", " << world << " by " << chunk;
      }
  }
}

TEST(RunEngine, RefusesWhatCannotRunBeforeItLoads) {
  const std::string model = golden_folder() + "/models/heads_5_5";
  EngineConfig config = exact("/no/such/model");
  refused_by_all(config, ExitCode::kMissingFile, {"/no/such/model"});
  config = exact(model), config.device = DeviceChoice::kCuda;
  refused_by_all(config, ExitCode::kUnavailable, {"cuda", "--device"});
  config = exact(model), config.numerics = Numerics::kFast;
  refused_by_all(config, ExitCode::kConfig, {"--numerics"});
  config = exact(model), config.shares = {1, 1};
  refused_by_all(config, ExitCode::kConfig, {"shares", "3 ranks"});
}

TEST(RunEngine, WhatRankZeroRefusesAboutTheRequestEndsAll) {
  refused_by_all(exact(golden_folder() + "/models/heads_5_5"), ExitCode::kUsage, {"no tokens"},
                 [](ModelFiles&) -> LoadPlan { throw Error(ExitCode::kUsage, "the prompt has no tokens"); });
}

TEST(RunEngine, RefusesRequestsThatDoNotFitTheMemory) {
  EngineConfig config = exact(golden_folder() + "/models/heads_5_5");
  const auto room_for = [](std::int64_t tokens) {
    return [tokens](ModelFiles&) { return LoadPlan{tokens, 16, 1}; };
  };
  refused_by_all(config, ExitCode::kOutOfMemory, {"rank 0", "KV cache", "--max-context"},
                 room_for(std::int64_t{1} << 36));
  config.kv_memory = 64 << 10;
  refused_by_all(config, ExitCode::kOutOfMemory, {"kv_memory allows 64.00 KiB", "max_tokens"},
                 room_for(100000));
}

TEST(RunEngine, ALeaderThatFailsInTheMiddleEndsItsWorkers) {
  expect_error(ExitCode::kIoError, {"disk full"}, [] {
    LocalGroup(3).run([](Communicator& ranks, ControlChannel& control) {
      const Group group{ranks, control, ranks.rank(), 3, "host"};
      run_engine(
          group, exact(golden_folder() + "/models/heads_5_5"),
          [](ModelFiles&) {
            return LoadPlan{64, 16, 1};
          },
          [](Leader& leader, const ModelFiles&, double) {
            leader.scheduler().add(greedy({1, 2, 3}, 20));
            int steps = 0;
            leader.run([&](const Progress&) {
              if (++steps == 3) throw Error(ExitCode::kIoError, "disk full");
            });
          });
    });
  });
}

}  // namespace
}  // namespace llm_tp

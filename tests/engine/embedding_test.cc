// Embeddings: the model's own hidden states, and the same bits however they are computed.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <span>

#include "comm/local_group.h"
#include "engine/engine.h"
#include "tests/support/golden.h"
#include "weights/safetensors.h"

namespace llm_tp {
namespace {

using Vector = std::vector<float>;

struct Way {
  int world = 1;
  std::int64_t rows = 512;  // of a step
  bool prefix_cache = false;
};

/// The embeddings of the prompts, run at once.
std::vector<Vector> embed(const std::string& model, const std::vector<std::vector<TokenId>>& prompts,
                          const EmbeddingSettings& settings, const Way& way) {
  EngineConfig config;
  config.model = model;
  config.threads = 1;
  config.kv_dtype = KvDType::kF32;
  config.activations = Activations::kF32;
  LoadPlan load;
  load.sequences = static_cast<std::int64_t>(prompts.size());
  load.most_rows = way.rows;
  load.prefix_cache = way.prefix_cache;
  for (const auto& prompt : prompts) load.kv_tokens += static_cast<std::int64_t>(prompt.size());
  std::vector<Vector> all(prompts.size());
  LocalGroup(way.world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), way.world, "host"};
    run_engine(
        group, config, [&](ModelFiles&) { return load; },
        [&](Leader& leader, const ModelFiles&, double) {
          for (int round = 0; round < (way.prefix_cache ? 2 : 1); ++round) {
            std::map<RequestId, std::size_t> index;
            for (std::size_t i = 0; i < prompts.size(); ++i) {
              Request request;
              request.prompt = prompts[i];
              request.max_tokens = 0;
              request.embedding = settings;
              index[leader.scheduler().add(request)] = i;
            }
            std::size_t told = 0;
            leader.run([&](const Progress& p) {
              EXPECT_TRUE(p.finished);
              all[index.at(p.request)] = p.row.state;
              ++told;
            });
            EXPECT_EQ(told, prompts.size());
          }
        });
  });
  return all;
}

/// lm_head times an embedding: the logits that belong to that state.
std::vector<double> logits_of(const std::string& model, const Vector& state) {
  const SafetensorsSource source(model);
  const WeightKey key{WeightRole::kLmHead};
  const WeightInfo head = *source.find(key);
  EXPECT_EQ(head.dtype, DType::kF32);
  std::vector<float> row(static_cast<std::size_t>(head.columns));
  std::vector<double> logits;
  for (std::int64_t r = 0; r < head.rows; ++r) {
    source.read(key, {r, r + 1}, {0, head.columns}, std::as_writable_bytes(std::span(row)).data());
    logits.push_back(std::inner_product(row.begin(), row.end(), state.begin(), 0.0));
  }
  return logits;
}

/// The head is linear: what it makes of the mean of states is the mean of the reference's logits.
TEST(Embedding, TheHeadMakesHuggingFacesLogitsOfIt) {
  const GoldenCase golden = load_golden_model("llama2_mha");
  for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
    const auto all = embed(golden.model, golden.prompts, {pooling, false}, {3, 7});
    for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
      const NpyArray& reference = golden.logits[i];
      const std::size_t rows = golden.prompts[i].size(), vocabulary = reference.values.size() / rows;
      const std::vector<double> logits = logits_of(golden.model, all[i]);
      ASSERT_EQ(logits.size(), vocabulary);
      for (std::size_t v = 0; v < vocabulary; ++v) {
        double wanted = 0;
        for (std::size_t t = pooling == Pooling::kMean ? 0 : rows - 1; t < rows; ++t)
          wanted += static_cast<double>(reference.values[t * vocabulary + v]);
        if (pooling == Pooling::kMean) wanted /= static_cast<double>(rows);
        ASSERT_NEAR(logits[v], wanted, kGoldenLogitTolerance) << "prompt " << i << ", token " << v;
      }
    }
  }
}

TEST(Embedding, BitsAreTheSameForAnyRanksBatchAndChunks) {
  for (const char* name : {"heads_9_3", "qwen2_tied"}) {
    const GoldenCase golden = load_golden_model(name);
    for (const EmbeddingSettings settings :
         {EmbeddingSettings{Pooling::kMean, true}, EmbeddingSettings{Pooling::kLast, true},
          EmbeddingSettings{Pooling::kMean, false}}) {
      std::vector<Vector> alone;
      for (const auto& prompt : golden.prompts)
        alone.push_back(embed(golden.model, {prompt}, settings, {}).front());
      for (const Way way : {Way{1, 3}, Way{2, 512}, Way{3, 20}, Way{5, 33}, Way{2, 40, true}})
        EXPECT_EQ(embed(golden.model, golden.prompts, settings, way), alone)
            << name << ", " << way.world << " ranks, " << way.rows << " rows";
    }
  }
}

TEST(Embedding, NormalisedOnesHaveLengthOneAndTheSameDirection) {
  const GoldenCase golden = load_golden_model("heads_9_3");
  for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
    const Vector raw = embed(golden.model, {golden.prompts[1]}, {pooling, false}, {}).front();
    const Vector unit = embed(golden.model, {golden.prompts[1]}, {pooling, true}, {}).front();
    double squares = 0, length = 0;
    for (float v : raw) squares += static_cast<double>(v) * static_cast<double>(v);
    for (float v : unit) length += static_cast<double>(v) * static_cast<double>(v);
    EXPECT_NEAR(length, 1, 1e-6);
    for (std::size_t i = 0; i < raw.size(); ++i)
      EXPECT_NEAR(unit[i], static_cast<double>(raw[i]) / std::sqrt(squares), 1e-6);
  }
}

}  // namespace
}  // namespace llm_tp

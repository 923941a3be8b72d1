// Models against Hugging Face, and against themselves: the same bits however they are run.
#include <gtest/gtest.h>

#include <algorithm>

#include "model_runs.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

/// A golden model, the name of a GGUF type, or of a quantised checkpoint.
GoldenCase load_golden(const std::string& name) {
  const auto among = [&](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (among(golden_gguf_types())) return load_golden_gguf(name);
  return among(golden_quantised_names()) ? load_golden_quantised(name) : load_golden_model(name);
}

std::vector<std::string> all_names() {
  std::vector<std::string> names = golden_model_names();
  for (const std::string& type : golden_gguf_types()) names.push_back(type);
  for (const std::string& name : golden_quantised_names()) names.push_back(name);
  return names;
}

/// Other ways to run what RunSetup's defaults run in one chunk.
struct Way {
  const char* name;
  RunSetup setup;
  std::int32_t chunk;
};
std::vector<Way> ways(const RunSetup& computed) {
  std::vector<Way> all(8, {"", computed, 512});
  std::size_t i = 0;
  const auto way = [&](const char* name, int world, int threads, std::int32_t chunk) -> RunSetup& {
    Way& next = all.at(i++);
    next.name = name, next.chunk = chunk;
    next.setup.world = world, next.setup.threads = threads;
    return next.setup;
  };
  way("token by token", 1, 1, 1);
  way("two threads, chunks of 7", 1, 2, 7).page_tokens = 32;
  way("two ranks", 2, 1, 512).scattered_pages = true;
  way("two ranks of two threads, chunks of 16", 2, 2, 16).page_tokens = 64;
  way("three ranks, chunks of 33", 3, 1, 33).page_tokens = 48;
  way("three unequal ranks", 3, 1, 512).shares = {1, 3, 0.5};
  way("five ranks, chunks of 20", 5, 1, 20).scattered_pages = true;
  way("twelve ranks, more than there are heads", 12, 1, 512);
  return all;
}

void expect_same_bits(const Checkpoint& checkpoint, const RunSetup& computed, const Tokens& tokens) {
  const Logits expected = run_alone(checkpoint, computed, tokens);
  for (const Way& way : ways(computed))
    EXPECT_EQ(run_alone(checkpoint, way.setup, tokens, way.chunk), expected) << way.name;
}

std::string parameter_name(const testing::TestParamInfo<std::string>& info) { return info.param; }

class Golden : public testing::TestWithParam<std::string> {};

/// How far the rows of a prompt are from the reference's. Where angles depend on the length, transformers
/// turns every row of a forward pass by the length of all: the reference's last row alone is what a user
/// sees.
double difference(const Checkpoint& checkpoint, const GoldenCase& golden, std::size_t prompt, Logits logits) {
  if (!checkpoint.shape.rope.by_length()) return max_abs_difference(logits, golden.logits[prompt]);
  const auto vocabulary = static_cast<std::ptrdiff_t>(checkpoint.shape.vocabulary);
  NpyArray last = golden.logits[prompt];
  last.shape[0] = 1;
  last.values.assign(last.values.end() - vocabulary, last.values.end());
  return max_abs_difference({logits.end() - vocabulary, logits.end()}, last);
}

TEST_P(Golden, LogitsAreWithinTheToleranceAndGreedyIdsThoseOfHuggingFace) {
  const GoldenCase golden = load_golden(GetParam());
  const Checkpoint checkpoint = Checkpoint::open(golden.model);
  const auto vocabulary = static_cast<std::size_t>(checkpoint.shape.vocabulary);
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    EXPECT_LT(difference(checkpoint, golden, i, run_alone(checkpoint, {}, golden.prompts[i])),
              kGoldenLogitTolerance)
        << "prompt " << i;
    if (checkpoint.shape.rope.by_length()) continue;
    Tokens tokens = golden.prompts[i];
    tokens.insert(tokens.end(), golden.greedy[i].begin(), golden.greedy[i].end());
    const Logits logits = run_alone(checkpoint, {}, tokens);
    for (std::size_t at = golden.prompts[i].size(); at < tokens.size(); ++at) {
      const float* row = logits.data() + (at - 1) * vocabulary;
      EXPECT_EQ(std::max_element(row, row + vocabulary) - row, tokens[at]) << "prompt " << i << " at " << at;
    }
  }
}

TEST_P(Golden, BitsAreTheSameForAnyRanksThreadsChunksPagesAndShares) {
  const GoldenCase golden = load_golden(GetParam());
  expect_same_bits(Checkpoint::open(golden.model), {}, golden.prompts.back());
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, testing::ValuesIn(all_names()), parameter_name);

TEST(WholeExperts, GiveTheBitsOfSlicesOfEach) {
  for (const char* name : {"qwen2_moe", "qwen3_moe"}) {
    const GoldenCase golden = load_golden_model(name);
    const Checkpoint checkpoint = Checkpoint::open(golden.model);
    const Logits expected = run_alone(checkpoint, {}, golden.prompts.back());
    for (const int world : {1, 2, 3, 5, 8}) {  // 8: more ranks than experts
      RunSetup setup;
      setup.world = world, setup.whole_experts = true;
      EXPECT_EQ(run_alone(checkpoint, setup, golden.prompts.back(), 33), expected) << name << ", " << world;
    }
    RunSetup unequal;
    unequal.world = 3, unequal.threads = 2, unequal.whole_experts = true, unequal.shares = {0.2, 3, 1};
    EXPECT_EQ(run_alone(checkpoint, unequal, golden.prompts.back(), 7), expected) << name;
  }
}

/// The arithmetic that users get where nothing is set: rounded activations and a rounded cache.
RunSetup rounded() {
  RunSetup setup;
  setup.activations = ActivationKind::kInt8;
  setup.kv_dtype = DType::kF16;
  return setup;
}

class RoundedActivations : public testing::TestWithParam<std::string> {};

TEST_P(RoundedActivations, BitsAreTheSameForAnyRanksThreadsChunksPagesAndShares) {
  const GoldenCase golden = load_golden(GetParam());
  expect_same_bits(Checkpoint::open(golden.model), rounded(), golden.prompts.back());
}

INSTANTIATE_TEST_SUITE_P(Types, RoundedActivations,
                         testing::Values("Q8_0", "Q4_0", "Q4_1", "Q5_1", "Q4_K_M", "OTHERS", "gptq_desc_act",
                                         "awq", "fp8_channel"),
                         parameter_name);

TEST(CodedCache, BitsAreTheSameForAnyRanksThreadsChunksPagesAndShares) {
  for (const char* name : {"heads_9_3", "mistral_head_dim"})
    for (const DType dtype : {DType::kInt8, DType::kE4M3}) {
      const GoldenCase golden = load_golden(name);
      RunSetup setup;
      setup.kv_dtype = dtype;
      expect_same_bits(Checkpoint::open(golden.model), setup, golden.prompts.back());
    }
}

TEST(QuantisedAtLoad, BitsAreTheSameForAnyRanksThreadsChunksPagesAndShares) {
  const Checkpoint checkpoint = Checkpoint::open(repository_path("models/harbour/hf"));
  RunSetup setup = rounded();
  setup.weight_dtype = DType::kQ4_0;
  setup.kv_dtype = DType::kBF16;
  expect_same_bits(checkpoint, setup, load_harbour_prompts().front().prompt_ids);
}

TEST(QuantisedAtLoad, HarboursWeightsGiveTheBitsOfItsQ8_0File) {
  const Tokens tokens = load_harbour_prompts().front().prompt_ids;
  RunSetup setup;
  setup.weight_dtype = DType::kQ8_0;
  EXPECT_EQ(run_alone(Checkpoint::open(repository_path("models/harbour/hf")), setup, tokens),
            run_alone(Checkpoint::open(repository_path("models/harbour/harbour-q8_0.gguf")), {}, tokens));
}

TEST(Harbour, TheGgufFileGivesTheBitsOfTheFolder) {
  const Tokens tokens = load_harbour_prompts().front().prompt_ids;
  EXPECT_EQ(run_alone(Checkpoint::open(repository_path("models/harbour/hf")), {}, tokens),
            run_alone(Checkpoint::open(repository_path("models/harbour/harbour-bf16.gguf")), {}, tokens));
}

}  // namespace
}  // namespace llm_tp

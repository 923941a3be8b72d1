#include "engine/generation_defaults.h"

#include <gtest/gtest.h>

#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

GenerationDefaults defaults_of(const std::string& text) {
  const TemporaryFolder folder;
  folder.write("generation_config.json", text);
  return GenerationDefaults::read(folder.path());
}

const char* const kQwen = R"({"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05,
  "typical_p": 0.9, "epsilon_cutoff": 0.001, "eta_cutoff": 0.002, "repetition_penalty": 1.05,
  "no_repeat_ngram_size": 4, "max_new_tokens": 99, "suppress_tokens": [5, 6], "begin_suppress_tokens": [7],
  "bad_words_ids": [[8], [9, 10]], "eos_token_id": [2, 3], "transformers_version": "4.51.3"})";

TEST(GenerationDefaults, SetWhatNobodySet) {
  std::string used;
  const GenerationConfig g = with_defaults({}, defaults_of(kQwen), used);
  EXPECT_EQ(g.temperature, 0.7);
  EXPECT_EQ(g.top_k, 20);
  EXPECT_EQ(g.top_p, 0.8);
  EXPECT_EQ(g.min_p, 0.05);
  EXPECT_EQ(g.typical_p, 0.9);
  EXPECT_EQ(g.epsilon_cutoff, 0.001);
  EXPECT_EQ(g.eta_cutoff, 0.002);
  EXPECT_EQ(g.repetition_penalty, 1.05);
  EXPECT_EQ(g.no_repeat_ngram_size, 4);
  EXPECT_EQ(g.max_tokens, 99);
  EXPECT_EQ(g.suppress_tokens, (std::vector<TokenId>{5, 6}));
  EXPECT_EQ(g.begin_suppress_tokens, (std::vector<TokenId>{7}));
  EXPECT_EQ(g.bad_words_ids, "8;9,10");
  EXPECT_EQ(used,
            "temperature 0.7, top_k 20, top_p 0.8, min_p 0.05, typical_p 0.9, epsilon_cutoff 0.001, "
            "eta_cutoff 0.002, repetition_penalty 1.05, no_repeat_ngram_size 4, max_tokens 99, "
            "suppress_tokens 5,6, begin_suppress_tokens 7, bad_words_ids 8;9,10");
}

TEST(GenerationDefaults, NeverWinOverWhatWasAskedFor) {
  GenerationConfig asked;
  asked.temperature = 0.1;
  asked.top_p = 1;
  asked.repetition_penalty = 1;
  asked.suppress_tokens = {1};
  std::string used;
  const GenerationConfig g = with_defaults(asked, defaults_of(kQwen), used);
  EXPECT_EQ(g.temperature, 0.1);
  EXPECT_EQ(g.top_p, 1);
  EXPECT_EQ(g.repetition_penalty, 1);
  EXPECT_EQ(g.suppress_tokens, (std::vector<TokenId>{1}));
  EXPECT_EQ(g.top_k, 20);  // nobody asked
}

TEST(GenerationDefaults, GreedyKeepsThePenaltiesAndNoFilter) {
  GenerationConfig asked;
  asked.temperature = 0;
  std::string used;
  const GenerationConfig g = with_defaults(asked, defaults_of(kQwen), used);
  EXPECT_FALSE(g.top_k || g.top_p || g.min_p);
  EXPECT_EQ(g.repetition_penalty, 1.05);
}

TEST(GenerationDefaults, AModelThatDoesNotSampleIsGreedy) {
  std::string used;
  EXPECT_FALSE(with_defaults({}, defaults_of(R"({"temperature": 0.7, "top_k": 50})"), used).temperature);
  EXPECT_EQ(used, "");
}

TEST(GenerationDefaults, SearchesDoNotDraw) {
  GenerationConfig asked;
  asked.num_beams = 4;
  std::string used;
  const GenerationConfig g = with_defaults(asked, defaults_of(kQwen), used);
  EXPECT_FALSE(g.temperature || g.top_k);
  EXPECT_EQ(g.repetition_penalty, 1.05);
}

TEST(GenerationDefaults, WhatIsLeftAsideIsNamed) {
  std::string used;
  with_defaults(
      {}, defaults_of(R"({"num_beams": 4, "min_length": 0, "length_penalty": 1.0, "penalty_alpha": null})"),
      used);
  EXPECT_EQ(used, "num_beams left aside: ask for it by its flag");
}

}  // namespace
}  // namespace llm_tp

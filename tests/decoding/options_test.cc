// What the configuration says of decoding, and what is refused.
#include "commands/decoding_options.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "commands/guided.h"
#include "config/key_table.h"

namespace llm_tp {
namespace {

ModelFiles files_of(std::int64_t vocabulary) {
  ModelFiles files;
  files.shape.vocabulary = vocabulary;
  return files;
}

Request request_of(const GenerationConfig& generation) {
  Request request;
  set_decoding_options(generation, files_of(100), request);
  return request;
}

void expect_refused(const std::vector<std::pair<std::string, std::string>>& keys,
                    const std::vector<std::string>& words) {
  EngineConfig config;
  for (const auto& [key, value] : keys)
    set_key(config, "generation." + key, value, {OriginKind::kFlag, "flag"});
  try {
    request_of(config.generation);
    ADD_FAILURE() << "no error about " << words[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    for (const std::string& word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(DecodingOptions, ListsOfBiasesAndWordsAreRead) {
  GenerationConfig g;
  g.logit_bias = "5:1.5,7:-100";
  g.sequence_bias = "1,2:0.5;3:-2";
  g.bad_words_ids = "4,5;6";
  g.exponential_decay_length_penalty = "8,1.25";
  const ProcessorSettings p = request_of(g).processors;
  ASSERT_EQ(p.sequence_bias.size(), 4U);
  EXPECT_EQ(p.sequence_bias[0].ids, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(p.sequence_bias[3].ids, (std::vector<TokenId>{7}));
  EXPECT_EQ(p.sequence_bias[3].bias, -100);
  EXPECT_EQ(p.bad_words, (std::vector<std::vector<TokenId>>{{4, 5}, {6}}));
  EXPECT_EQ(p.decay_start, 8);
  EXPECT_EQ(p.decay_factor, 1.25F);
}

TEST(DecodingOptions, IdsOutsideTheVocabularyAreRefusedWithTheRange) {
  expect_refused({{"logit_bias", "100:1"}}, {"logit_bias", "100", "0 to 99"});
  expect_refused({{"sequence_bias", "1,100:1"}}, {"sequence_bias", "0 to 99"});
  expect_refused({{"bad_words_ids", "1;100"}}, {"bad_words_ids", "0 to 99"});
  expect_refused({{"suppress_tokens", "100"}}, {"suppress_tokens", "0 to 99"});
  expect_refused({{"forced_eos_token_id", "100"}}, {"forced_eos_token_id", "0 to 99"});
}

TEST(DecodingOptions, TextsThatCannotBeReadAreRefused) {
  expect_refused({{"logit_bias", "5"}}, {"logit_bias", "colon"});
  expect_refused({{"logit_bias", "5:nan"}}, {"logit_bias", "finite"});
  expect_refused({{"bad_words_ids", "1,;2"}}, {"bad_words_ids", "commas"});
  expect_refused({{"exponential_decay_length_penalty", "5"}}, {"START,FACTOR"});
  expect_refused({{"exponential_decay_length_penalty", "-1,2"}}, {"START of 0 or more"});
}

TEST(DecodingOptions, CombinationsWithoutAMeaningNameBoth) {
  expect_refused({{"num_beams", "2"}, {"temperature", "1"}}, {"num_beams", "temperature"});
  expect_refused({{"num_beams", "2"}, {"n", "2"}}, {"num_beams", "n "});
  expect_refused({{"num_beams", "2"}, {"stop", "x"}}, {"num_beams", "stop"});
  expect_refused({{"num_beams", "2"}, {"speculative", "ngram"}}, {"num_beams", "speculative"});
  expect_refused({{"num_beams", "2"}, {"num_return_sequences", "3"}}, {"num_return_sequences", "num_beams"});
  expect_refused({{"num_beams", "2"}, {"penalty_alpha", "0.5"}, {"top_k", "4"}},
                 {"num_beams", "penalty_alpha"});
  expect_refused({{"penalty_alpha", "0.5"}, {"top_k", "1"}}, {"penalty_alpha", "top_k 1"});
  expect_refused({{"penalty_alpha", "0.5"}}, {"penalty_alpha", "top_k 0"});
  expect_refused({{"penalty_alpha", "0.5"}, {"top_k", "4"}, {"temperature", "1"}},
                 {"penalty_alpha", "temperature"});
  expect_refused({{"speculative", "draft"}}, {"--draft-model"});
  expect_refused({{"draft_model", "x"}}, {"draft_model", "speculative"});
}

TEST(Guided, OneGrammarAndATokenizer) {
  GenerationConfig g;
  EXPECT_EQ(make_guide(g, files_of(100), {}), nullptr);
  g.regex = "a";
  EXPECT_THROW(make_guide(g, files_of(100), {}), Error);  // no tokenizer
  g.choice = {"b"};
  EXPECT_THROW(make_guide(g, files_of(100), {}), Error);
}

}  // namespace
}  // namespace llm_tp

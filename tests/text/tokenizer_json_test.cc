#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "text/tokenizer_files.h"
#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using test::small_tokenizer_json;

/// The small file with one part replaced by another.
std::string changed(const std::string& from, const std::string& to) {
  std::string json = small_tokenizer_json();
  const std::size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return json.replace(at, from.size(), to);
}

void expect_bad(const std::string& json, const std::string& part) {
  expect_error(ExitCode::kBadData, part, [&] { tokenizer_from_json(json, ""); });
}

TEST(TokenizerJson, DeepNestingIsAnErrorNotAStackOverflow) {
  expect_bad(std::string(1'000'000, '['), "nested deeper");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_bad(objects, "nested deeper");
}

TEST(TokenizerJson, WhatIsNoJsonIsNamed) {
  expect_bad("", "tokenizer.json is no JSON");
  expect_bad("{\"model\":", "tokenizer.json is no JSON");
  expect_bad("[]", "an object was wanted");
  expect_bad("{}", "tokenizer.json: model is a JSON null");
}

TEST(TokenizerJson, WrongTypesAreNamedByTheirKey) {
  expect_bad(changed("\"a\":0", "\"a\":\"zero\""), "model.vocab.a is a JSON string");
  expect_bad(changed("\"h e\"", "7"), "model.merges[0]");
  expect_bad(changed("\"h e\"", "\"he\""), "model.merges[0]");
  expect_bad(changed("\"special\":true", "\"special\":1"), "added_tokens[0].special");
  expect_bad(changed("\"type\":\"NFC\"", "\"type\":\"Precompiled\""), "normalizer.type is Precompiled");
  expect_bad(changed("\"type\":\"Split\"", "\"type\":\"UnicodeScripts\""),
             "pretokenizers[0].type is UnicodeScripts");
  expect_bad(changed("TemplateProcessing", "BertProcessing"), "post_processor.type is BertProcessing");
  expect_bad(changed("\"Isolated\"", "\"Sideways\""), "behavior is Sideways");
  expect_bad(changed("\\\\p{L}+", "\\\\p{Klingon}+"), "does not compile");
}

TEST(TokenizerJson, IdsOutOfRangeAreRefused) {
  expect_bad(changed("\"a\":0", "\"a\":-1"), "model.vocab.a is -1");
  expect_bad(changed("\"a\":0", "\"a\":2000000000"), "model.vocab.a is 2000000000");
  expect_bad(changed("\"a\":0", "\"a\":18446744073709551615"), "model.vocab.a is 18446744073709551615");
  expect_bad(changed("\"a\":0", "\"a\":1e99"), "model.vocab.a");
  expect_bad(changed("\"id\":100", "\"id\":99999999"), "added_tokens[0].id");
  expect_bad(changed("\"ids\":[100]", "\"ids\":[103]"), "ids[0] is 103");
}

TEST(TokenizerJson, AnIdStandsForOneToken) {
  expect_bad(changed("\"a\":0", "\"a\":1"), "gives the id 1 to two tokens");
  expect_bad(changed("\"id\":101", "\"id\":100"), "gives the id 100 to a second token");
}

TEST(TokenizerJson, MergesOfUnknownTokensAreRefused) { expect_bad(changed("\"h e\"", "\"h q\""), "\"hq\""); }

TEST(TokenizerJson, ChatTemplateIsTheDefaultOne) {
  const std::string list =
      R"({"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]})";
  EXPECT_EQ(tokenizer_from_json(small_tokenizer_json(), list)->chat_template(), "d");
  EXPECT_EQ(tokenizer_from_json(small_tokenizer_json(), R"({"chat_template":"x"})")->chat_template(), "x");
  EXPECT_EQ(tokenizer_from_json(small_tokenizer_json(), "")->chat_template(), std::nullopt);
}

TEST(LoadTokenizer, FolderWithoutTokenizerFilesHasNone) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "llm_tp_no_tokenizer";
  std::filesystem::create_directories(folder);
  EXPECT_EQ(load_tokenizer(folder.string()), nullptr);
}

TEST(LoadTokenizer, ReadsTokenizerJsonWithTheFilesBesideIt) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "llm_tp_json_tokenizer";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << small_tokenizer_json();
  std::ofstream(folder / "special_tokens_map.json") << R"({"eos_token":"</s>"})";
  std::ofstream(folder / "chat_template.jinja") << "{{ x }}";
  const auto tokenizer = load_tokenizer(folder.string());
  EXPECT_THAT(tokenizer->encode("hello", true), ::testing::ElementsAre(100, 32));
  EXPECT_THAT(tokenizer->end_ids(), ::testing::ElementsAre(101));
  EXPECT_EQ(tokenizer->chat_template(), "{{ x }}");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace llm_tp

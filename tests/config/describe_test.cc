#include "config/describe.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace llm_tp {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Describe, DocsConfigHoldsTheTableOfTheCode) {
  std::ifstream file(LLM_TP_SOURCE_DIR "/docs/config.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t begin = text.find("\n| key |"), end = text.find("<!-- keys: end");
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos);
  EXPECT_EQ(text.substr(begin + 1, end - begin - 1), render_key_reference())
      << "replace the table of docs/config.md by the second text";
}

TEST(Describe, TableShowsEveryKeyWithValueAndOrigin) {
  const std::string table = render_table(load_config_text("model: a\nthreads: 4\n", "f.yaml"));
  EXPECT_TRUE(has(table, "f.yaml:2:10\n")) << table;
  EXPECT_TRUE(has(table, "(the model's, else 1)")) << table;
  for (const KeyInfo& key : key_table()) EXPECT_TRUE(has("\n" + table, "\n" + key.name + " ")) << key.name;
}

TEST(Describe, PromptsOfManyLinesStayOnOneLine) {
  const std::string table = render_table(load_config_text("generation: {prompt: \"a\\nb\"}\n", "f.yaml"));
  EXPECT_TRUE(has(table, "\"a\\nb\"")) << table;
}

TEST(Describe, JsonHoldsTypedValuesAndNullForUnset) {
  const std::string json = to_json(load_config_text(
      "threads: 4\nshares: [1, 0.5]\ngeneration: {top_p: 0.5, stop: [\"\\\"\"]}\n", "f.yaml"));
  std::string flat;
  for (const char c : json)
    if (c != '\n' && c != ' ') flat += c;
  EXPECT_TRUE(has(flat, R"("threads":{"value":4,"origin":"f.yaml:1:10"})")) << flat;
  EXPECT_TRUE(has(flat, R"("shares":{"value":[1.0,0.5],"origin")")) << flat;
  EXPECT_TRUE(has(flat, R"("generation.top_p":{"value":0.5,)")) << flat;
  EXPECT_TRUE(has(flat, R"("generation.stop":{"value":["\""],)")) << flat;
  EXPECT_TRUE(has(flat, R"("generation.seed":{"value":null,"origin":"default"})")) << flat;
}

TEST(Describe, BytesThatAreNotUtf8AreShownAnyway) {
  ConfigInputs inputs;
  inputs.environment = {"LLM_TP_MODEL=a\xff"};
  EXPECT_NO_THROW(to_json(load_config(inputs)));
}

}  // namespace
}  // namespace llm_tp

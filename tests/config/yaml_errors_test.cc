// Every way a configuration file can be wrong, each with the exact place.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/error.h"
#include "config/load_config.h"
#include "config/yaml_tree.h"

namespace llm_tp {
namespace {

/// The message that refuses `yaml`; "" where it loads. The code must be kConfig.
std::string refusal(const std::string& yaml) {
  try {
    load_config_text(yaml, "f.yaml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig) << error.what();
    return error.what();
  }
  return {};
}

void expect_refused(const std::string& yaml, const std::string& place, const std::string& part) {
  const std::string message = refusal(yaml);
  EXPECT_EQ(message.rfind("f.yaml:" + place + ": ", 0), 0u) << yaml << "\n" << message;
  EXPECT_NE(message.find(part), std::string::npos) << yaml << "\n" << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(YamlErrors, UnknownKeyNamesItsPlaceAndTheNearestKey) {
  expect_refused("modell: a\n", "1:1", "did you mean \"model\"?");
  expect_refused("model: a\ngeneration:\n  temprature: 1\n", "3:3",
                 "did you mean \"generation.temperature\"?");
  expect_refused("model: a\ngeneratoin:\n  top_p: 1\n", "2:1", "did you mean \"generation\"?");
  expect_refused("xylophone: 1\n", "1:1", "docs/config.md");
  expect_refused(std::string(500, 'a') + ": 1\n", "1:1", "");
}

TEST(YamlErrors, KeyInTheWrongSectionIsSentToItsOwn) {
  expect_refused("top_p: 0.5\n", "1:1", "did you mean \"generation.top_p\"?");
  expect_refused("generation: {threads: 2}\n", "1:14", "did you mean \"threads\"?");
  expect_refused("generation.top_p: 0.5\n", "1:1", "inside the section \"generation\"");
}

TEST(YamlErrors, DuplicateKeyIsReportedAtTheSecondOne) {
  expect_refused("model: a\nmodel: b\n", "2:1", "duplicate key \"model\"");
  expect_refused("generation:\n  n: 1\n  \"n\": 2\n", "3:3",
                 "duplicate key \"generation.n\", first set in line 2");
  expect_refused("bench: {batch: 1}\nmodel: a\nbench: {batch: 2}\n", "3:1", "duplicate key \"bench\"");
}

TEST(YamlErrors, AnchorsAliasesAndTagsAreRefused) {
  expect_refused("model: &a [*a]\n", "1:8", "anchor");
  expect_refused("model: &a b\n", "1:8", "anchor");
  expect_refused("generation: &g {n: 1}\n", "1:13", "anchor");
  EXPECT_NE(refusal("model: *a\n"), "");
  expect_refused("threads: !!int 4\n", "1:10", "tag");
  expect_refused("&a model: b\n", "1:1", "anchor");
  std::string bomb = "a: &a [x,x]\n";
  for (char c = 'b'; c < 'k'; ++c)
    bomb += std::string(1, c) + ": &" + c + " [*" + char(c - 1) + ",*" + char(c - 1) + "]\n";
  expect_refused(bomb, "1:4", "anchor");
}

TEST(YamlErrors, WholeNumbersArePlainDigits) {
  expect_refused("prefill_chunk: 08\n", "1:16", "leading zero");
  expect_refused("prefill_chunk: 1e3\n", "1:16", "without an exponent");
  expect_refused("prefill_chunk: 0x10\n", "1:16", "decimal digits");
  expect_refused("prefill_chunk: 1_000\n", "1:16", "leave out the _");
  expect_refused("prefill_chunk: +5\n", "1:16", "leave out the +");
  expect_refused("prefill_chunk: 4.0\n", "1:16", "whole number");
  expect_refused("prefill_chunk: yes\n", "1:16", "found \"yes\"");
  expect_refused("prefill_chunk: \"5\"\n", "1:16", "without quotes");
  expect_refused("prefill_chunk: 99999999999999999999\n", "1:16", "1 to 65536");
}

TEST(YamlErrors, WrongValuesStateWhatWasFoundAndTheRange) {
  expect_refused("threads: 0\n", "1:10", "found \"0\", wanted auto, or a whole number, 1 to 1024");
  expect_refused("prefill_chunk: 65537\n", "1:16", "found \"65537\", wanted a whole number, 1 to 65536");
  expect_refused("device: gpu\n", "1:9", "found \"gpu\", wanted one of auto, cpu, cuda");
  expect_refused("device: cpuu\n", "1:9", "did you mean cpu?");
  expect_refused("generation:\n  top_p: 1.5\n", "2:10", "a number, 0 to 1");
  expect_refused("generation:\n  temperature: .nan\n", "2:16", "found \".nan\"");
  expect_refused("generation:\n  temperature: nan\n", "2:16", "0 to 100");
  expect_refused("generation:\n  chat: yes\n", "2:9", "write true");
  expect_refused("generation:\n  chat: off\n", "2:9", "write false");
  expect_refused("kv_memory: 8GB\n", "1:12", "8GiB");
  expect_refused("kv_memory: 8\n", "1:12", "suffix");
  expect_refused("shares: [1, 0, 1]\n", "1:13", "found \"0\"");
  expect_refused("shares: [1, [2]]\n", "1:13", "list");
  expect_refused("generation:\n  stop: [a, '']\n", "2:13", "empty text");
}

TEST(YamlErrors, WrongKindOfValueIsRefused) {
  expect_refused("threads: [4]\n", "1:10", "found a list");
  expect_refused("threads: {a: 1}\n", "1:10", "found a section");
  expect_refused("model:\n", "1:1", "found nothing");
  expect_refused("model: ~\n", "1:1", "found nothing");
  expect_refused("generation: 5\n", "1:13", "section");
  expect_refused("- a\n", "1:1", "wanted lines");
  expect_refused("hello\n", "1:1", "wanted lines");
  expect_refused("? [a, b]\n: c\n", "1:3", "name of a key");
  expect_refused("<<: {model: a}\n", "1:1", "unknown key");
}

TEST(YamlErrors, SyntaxErrorsHaveTheirPlace) {
  EXPECT_NE(refusal("model: [a\n").find("f.yaml:"), std::string::npos);
  expect_refused("model: a\n  threads: 4\n", "2:10", "not YAML");
  expect_refused("threads: 4\nmodel: \"a\n", "3:1", "not YAML");
  expect_refused("model: 'a\n\n# b\n", "4:1", "not YAML");
  EXPECT_NE(refusal("\tmodel: a\n"), "");
  EXPECT_NE(refusal("model: a: b\n"), "");
}

TEST(YamlErrors, SecondDocumentIsRefused) {
  expect_refused("model: a\n---\nmodel: b\n", "2:1", "second document");
}

TEST(YamlErrors, ControlCharactersNeverHideTheRestOfTheFile) {
  expect_refused(std::string("model: a\n\x04threads: 0\n"), "2:1", "control character (byte 4)");
  expect_refused(std::string("m\0o\0", 4), "1:2", "UTF-8");
}

TEST(YamlErrors, DepthAndSizeAreCapped) {
  expect_refused(std::string("shares: ").append(20, '[') + std::string(20, ']'), "1:16", "nested deeper");
  EXPECT_NE(refusal(std::string("shares: ").append(200000, '[')), "");
  EXPECT_NE(refusal(std::string(100000, '{')), "");
  expect_refused(std::string("#").append(kMaxYamlBytes, 'x'), "1:1", "1 MiB");
  EXPECT_EQ(refusal(std::string("#").append(kMaxYamlBytes - 1, 'x')), "");
}

TEST(YamlErrors, DamagedFilesEndInAConfigErrorOrLoad) {
  const std::string sound =
      "model: \"a b\"\nshares: [1, 0.5]\ngeneration:\n  stop: [x, 'y']\n  prompt: |\n    two\n    "
      "lines\nbench: {batch: 2}\n";
  ASSERT_EQ(refusal(sound), "");
  for (std::size_t i = 0; i < sound.size(); ++i) refusal(sound.substr(0, i));
  std::mt19937 random(7);
  const std::string marks =
      "[]{}:,-?&*!|>'\"%@`#\n\t \\~\x7f\xff"
      "a0";
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = sound;
    for (int change = 0; change < 1 + round % 4; ++change)
      damaged[random() % damaged.size()] = marks[random() % marks.size()];
    const std::string message = refusal(damaged);
    EXPECT_TRUE(message.empty() || message.rfind("f.yaml:", 0) == 0) << message;
  }
}

}  // namespace
}  // namespace llm_tp

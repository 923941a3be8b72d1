#include <gmock/gmock.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "text/stream_decoder.h"
#include "text/tokenizer_files.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

const fs::path kFolder = LLM_TP_SOURCE_DIR "/tests/text/tokenizer_cases";

Json read_cases(const std::string& layout) {
  std::ifstream in(kFolder / (layout + ".json"));
  EXPECT_TRUE(in.good()) << layout;
  return Json::parse(in);
}

std::unique_ptr<Tokenizer> tokenizer_of(const Json& file) {
  return tokenizer_from_json(file["tokenizer"].dump(), "");
}

/// Small tokenizers in the layouts of published models, with what Hugging Face's library makes of texts.
class TokenizerCases : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerCases, IdsAndTextsAreThoseOfHuggingFace) {
  const Json file = read_cases(GetParam());
  const auto tokenizer = tokenizer_of(file);
  EXPECT_GT(file["cases"].size(), 20U);
  for (const Json& each : file["cases"]) {
    const auto text = each[0].get<std::string>();
    const Ids ids = tokenizer->encode(text, each[1].get<bool>(), each[2].get<bool>());
    EXPECT_EQ(ids, each[3].get<Ids>()) << each[0];
    if (each[4].is_null()) continue;
    EXPECT_EQ(tokenizer->decode(ids), each[4].get<std::string>()) << each[0];
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, TokenizerCases,
                         ::testing::Values("llama2", "llama2_normalized_tokens", "mistral", "phi3", "gemma",
                                           "qwen2", "llama3", "smollm", "nemo", "o200k", "cl100k", "unigram",
                                           "unigram_bytes", "unknown_fused", "unknown_single", "steps",
                                           "words"),
                         [](const auto& layout) { return std::string(layout.param); });

char32_t random_code_point(std::mt19937& random) {
  static constexpr std::array<std::pair<unsigned, unsigned>, 6> kRanges = {
      {{0, 0x80}, {0x80, 0x800}, {0x800, 0x2581}, {0x2582, 0xD800}, {0xE000, 0x10000}, {0x10000, 0x110000}}};
  if (random() % 3 == 0) return U" \t\n'<>|s0aeE"[random() % 12];
  const auto [low, high] = kRanges[random() % kRanges.size()];
  return low + random() % (high - low);
}

/// Layouts that have a token for every byte and keep every text: not Metaspace, which takes a leading space
/// for its own mark.
class LosslessTokenizers : public ::testing::TestWithParam<const char*> {};

TEST_P(LosslessTokenizers, EveryTextComesBackWholeAndInAStream) {
  const auto tokenizer = tokenizer_of(read_cases(GetParam()));
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (unsigned length = random() % 30; length > 0; --length) append_utf8(text, random_code_point(random));
    const Ids ids = tokenizer->encode(text, false, false);
    EXPECT_EQ(tokenizer->decode(ids), text);
    StreamDecoder decoder(*tokenizer);
    std::string streamed;
    for (const TokenId id : ids) {
      const std::string part = decoder.push(id);
      EXPECT_EQ(first_invalid_utf8(part), std::nullopt);
      streamed += part;
    }
    EXPECT_EQ(streamed + decoder.finish(), text);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, LosslessTokenizers,
                         ::testing::Values("llama2", "phi3", "gemma", "llama3", "smollm", "nemo", "o200k",
                                           "cl100k"),
                         [](const auto& layout) { return std::string(layout.param); });

}  // namespace
}  // namespace llm_tp

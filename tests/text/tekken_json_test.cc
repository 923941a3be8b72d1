#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "text/base64.h"
#include "text/tokenizer_files.h"
#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using ::testing::ElementsAre;

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    unsigned bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (int i = 3; i >= 0; --i) out += kDigits[bits >> (6 * i) & 63];
    for (std::size_t i = at + 3; i > bytes.size(); --i) out[out.size() - (i - bytes.size())] = '=';
  }
  return out;
}

/// 25 control tokens, 256 bytes, then "ab" 281, "bc" 282, "abc" 283, " a" 284, and one token too many.
nlohmann::json small_tekken() {
  nlohmann::json file;
  file["config"] = {{"pattern", R"( ?\p{L}+|\s+|[^\s\p{L}]+)"},
                    {"default_vocab_size", 25 + 256 + 4},
                    {"default_num_special_tokens", 25}};
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* token : {"ab", "bc", "abc", " a", "never"}) tokens.emplace_back(token);
  for (std::size_t rank = 0; rank < tokens.size(); ++rank)
    file["vocab"].push_back({{"rank", rank}, {"token_bytes", base64(tokens[rank])}});
  return file;
}

std::unique_ptr<Tokenizer> tokenizer_of(const nlohmann::json& file) {
  return tokenizer_from_tekken(file.dump(), TokenizerSettings());
}

TEST(TekkenJson, PairsAreJoinedByTheRankOfWhatTheyMake) {
  const auto tokenizer = tokenizer_of(small_tekken());
  EXPECT_EQ(tokenizer->vocabulary_size(), 285);
  EXPECT_THAT(tokenizer->encode("abc", true), ElementsAre(1, 283));
  EXPECT_THAT(tokenizer->encode("bcd", false), ElementsAre(282, 25 + 'd'));
  EXPECT_THAT(tokenizer->encode("xabc", false), ElementsAre(25 + 'x', 283));  // ab first, then ab and c
  EXPECT_THAT(tokenizer->encode("x a", false), ElementsAre(25 + 'x', 284));
  EXPECT_EQ(tokenizer->encode("never", false).size(), 5U);
}

TEST(TekkenJson, ControlTokensHaveTheFirstIds) {
  const auto tokenizer = tokenizer_of(small_tekken());
  EXPECT_THAT(tokenizer->encode("[INST]a[/INST]</s><SPECIAL_24>", false), ElementsAre(3, 25 + 'a', 4, 2, 24));
  EXPECT_EQ(tokenizer->begin_id(), 1);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(2));
  nlohmann::json named = small_tekken();
  for (const char* name : {"<s>", "</s>", "[THINK]"})
    named["special_tokens"].push_back({{"rank", named["special_tokens"].size()}, {"token_str", name}});
  EXPECT_THAT(tokenizer_of(named)->encode("[THINK]</s>[INST]", false, true),
              ElementsAre(2, 1, 25 + '[', 25 + 'I', 25 + 'N', 25 + 'S', 25 + 'T', 25 + ']'));
}

TEST(TekkenJson, EveryTextComesBack) {
  const auto tokenizer = tokenizer_of(small_tekken());
  const std::string text = "abc  \n\t\xE6\xB8\xAF \xF0\x9F\x98\x80 abcab";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true)), text);
}

TEST(TekkenJson, WrongFilesAreRefusedByTheirKey) {
  const auto expect_bad = [](const char* pointer, const nlohmann::json& value, const std::string& part) {
    nlohmann::json file = small_tekken();
    file[nlohmann::json::json_pointer(pointer)] = value;
    expect_error(ExitCode::kBadData, part, [&] { tokenizer_of(file); });
  };
  expect_bad("/vocab/7/token_bytes", "A", "tekken.json: vocab[7].token_bytes");
  expect_bad("/vocab/7/token_bytes", "", "vocab[7].token_bytes");
  expect_bad("/vocab/7/rank", 8, "vocab[7].rank");
  expect_bad("/config/default_vocab_size", 1000, "vocab has 261 tokens");
  expect_bad("/config/default_num_special_tokens", -1, "default_num_special_tokens");
  expect_bad("/config/pattern", "(", "does not compile");
  expect_bad("/special_tokens", nlohmann::json::array(), "has no <s>");
}

TEST(Base64, IsReadStrictly) {
  EXPECT_EQ(bytes_of_base64(""), "");
  EXPECT_EQ(bytes_of_base64("4pyT"), "\xE2\x9C\x93");
  EXPECT_EQ(bytes_of_base64("YQ=="), "a");
  EXPECT_EQ(bytes_of_base64("YWI="), "ab");
  for (const char* text : {"YQ", "YQ=", "Y===", "Y Q=", "=YQ=", "YQ-="})
    EXPECT_EQ(bytes_of_base64(text), std::nullopt) << text;
}

}  // namespace
}  // namespace llm_tp

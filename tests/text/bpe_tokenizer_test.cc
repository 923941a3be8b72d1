#include <gmock/gmock.h>

#include "text/tokenizer_files.h"
#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using test::small_tokenizer_json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> small(std::string_view config = "") {
  return tokenizer_from_json(small_tokenizer_json(), config);
}

/// The 256 byte tokens (id = byte, in the order of the alphabet's bytes), then extra tokens.
GgufVocabulary byte_vocabulary(const std::string& pre) {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int c = itself ? byte : 0x100 + moved++;
    std::string text;
    if (c < 0x80) {
      text = static_cast<char>(c);
    } else {
      text = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    }
    vocabulary.tokens.push_back(text);
  }
  vocabulary.types.assign(256, 1);
  return vocabulary;
}

void add(GgufVocabulary& vocabulary, const std::string& text, int type) {
  vocabulary.tokens.push_back(text);
  vocabulary.types.push_back(type);
}

TEST(BpeTokenizer, MergesInOrderOfRankAndInBothFormsOfTheList) {
  EXPECT_THAT(small()->encode("hello", false), ElementsAre(32));
  EXPECT_THAT(small()->encode("hello world", false), ElementsAre(32, 34, 17, 11, 3));
  EXPECT_THAT(small()->encode("hel", false), ElementsAre(29, 11));
}

TEST(BpeTokenizer, TemplateAndConfigSettleTheBeginAndEndIds) {
  EXPECT_THAT(small()->encode("he", true), ElementsAre(100, 29));
  const auto both = small(
      R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"add_bos_token":true,"add_eos_token":true})");
  EXPECT_THAT(both->encode("he", true), ElementsAre(100, 29, 101));
  EXPECT_EQ(both->begin_id(), 100);
  EXPECT_THAT(both->end_ids(), ElementsAre(101));
  EXPECT_THAT(small(R"({"bos_token":"<s>","add_bos_token":false})")->encode("he", true), ElementsAre(29));
  EXPECT_THAT(small()->encode("", true), ElementsAre(100));
  EXPECT_THAT(small()->encode("", false), IsEmpty());
}

TEST(BpeTokenizer, SpecialTextsArePlainTextWhereTheyAreNotParsed) {
  EXPECT_THAT(small()->encode("he</s>he", false), ElementsAre(29, 101, 29));
  const Ids plain = small()->encode("he</s>he", false, false);
  EXPECT_THAT(plain, ::testing::Not(::testing::Contains(101)));
}

TEST(BpeTokenizer, AddedTokensThatAreNoControlTokensKeepTheirTextAndStripSpaces) {
  const auto tokenizer = small();
  const Ids ids = tokenizer->encode("he<fn>  he", false);
  EXPECT_THAT(ids, ElementsAre(29, 102, 29));
  EXPECT_EQ(tokenizer->decode(ids), "he<fn>he");
  EXPECT_EQ(tokenizer->decode({100, 29, 101}), "he");
  EXPECT_EQ(tokenizer->decode({100, 29, 101}, true), "<s>he</s>");
  EXPECT_EQ(tokenizer->piece(101), "");
  EXPECT_EQ(tokenizer->piece(101, true), "</s>");
}

TEST(BpeTokenizer, TextIsNormalisedWhereTheFileAsks) {
  // e and a combining acute become U+00E9, bytes C3 A9.
  EXPECT_THAT(small()->encode("e\xCC\x81", false), ElementsAre(27, 28));
}

TEST(BpeTokenizer, HolesInTheVocabularyHaveNoText) {
  EXPECT_EQ(small()->vocabulary_size(), 103);
  EXPECT_EQ(small()->decode({50, 29, 5000, -3}), "he");
  EXPECT_EQ(small()->id_of("hello"), 32);
  EXPECT_EQ(small()->id_of("nothing"), std::nullopt);
}

TEST(BpeTokenizer, TextThatIsNotUtf8IsRefusedWithItsPlace) {
  expect_error(ExitCode::kUsage, "byte offset 2", [] { small()->encode("he\xFFllo", false); });
  expect_error(ExitCode::kUsage, "byte offset 1", [] { small()->encode("h\xE2\x82", false); });
  expect_error(ExitCode::kUsage, "byte offset 0",
               [] { small()->encode("\xED\xA0\x80", false); });  // a surrogate
}

TEST(BpeTokenizer, EveryByteComesBackThroughGgufVocabularies) {
  for (const char* pre : {"gpt-2", "phi-2", "mpt", "olmo", "llama-bpe", "llama3", "llama-v3", "smaug-bpe",
                          "smollm", "starcoder", "refact", "command-r", "qwen2", "dbrx", "tekken",
                          "deepseek-coder", "deepseek-llm", "default"}) {
    const auto tokenizer = make_tokenizer(byte_vocabulary(pre));
    const std::string text =
        "I'LL take 1234 caf\xC3\xA9s,\r\n\n  \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80\xE2\x80\x8D!\t ";
    const Ids ids = tokenizer->encode(text, true);
    EXPECT_EQ(ids.size(), text.size()) << pre;
    EXPECT_EQ(tokenizer->decode(ids), text) << pre;
  }
}

TEST(BpeTokenizer, GgufMergesNeverCrossThePreTokenizersCuts) {
  GgufVocabulary vocabulary = byte_vocabulary("smollm");
  add(vocabulary, "11", 1);
  vocabulary.merges = {"1 1"};
  EXPECT_THAT(make_tokenizer(vocabulary)->encode("111", false), ElementsAre('1', '1', '1'));
  vocabulary.pre = "gpt-2";
  EXPECT_THAT(make_tokenizer(vocabulary)->encode("111", false), ElementsAre(256, '1'));
}

TEST(BpeTokenizer, LongestOfTheGgufControlTokensIsTaken) {
  GgufVocabulary vocabulary = byte_vocabulary("gpt-2");
  add(vocabulary, "<|a", 3);
  add(vocabulary, "<|a|>", 3);
  vocabulary.eos = 256;
  vocabulary.eot = 257;
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_THAT(tokenizer->encode("<|a|><|ab", false), ElementsAre(257, 256, 'b'));
  EXPECT_EQ(tokenizer->encode("<|a|>", false, false).size(), 5U);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(256, 257));
}

TEST(BpeTokenizer, GgufBeginIdIsAddedOnlyWhereTheFileSaysSo) {
  GgufVocabulary vocabulary = byte_vocabulary("gpt-2");
  vocabulary.bos = vocabulary.eos = 7;
  EXPECT_THAT(make_tokenizer(vocabulary)->encode("a", true), ElementsAre('a'));
  vocabulary.add_bos = vocabulary.add_eos = true;
  EXPECT_THAT(make_tokenizer(vocabulary)->encode("a", true), ElementsAre(7, 'a', 7));
}

TEST(BpeTokenizer, BrokenGgufVocabulariesAreRefusedByTheirKey) {
  expect_error(ExitCode::kBadData, "\"klingon\"", [] { make_tokenizer(byte_vocabulary("klingon")); });
  GgufVocabulary vocabulary = byte_vocabulary("gpt-2");
  vocabulary.model = "bert";
  expect_error(ExitCode::kBadData, "tokenizer.ggml.model", [&] { make_tokenizer(vocabulary); });
  vocabulary = byte_vocabulary("gpt-2");
  vocabulary.types.pop_back();
  expect_error(ExitCode::kBadData, "token_type", [&] { make_tokenizer(vocabulary); });
  vocabulary = byte_vocabulary("gpt-2");
  vocabulary.eos = 256;
  expect_error(ExitCode::kBadData, "eos_token_id", [&] { make_tokenizer(vocabulary); });
  vocabulary.eos.reset();
  vocabulary.merges = {"ab"};
  expect_error(ExitCode::kBadData, "merges[0]", [&] { make_tokenizer(vocabulary); });
  expect_error(ExitCode::kBadData, "tokens is empty", [] { make_tokenizer({}); });
}

TEST(BpeTokenizer, AMillionEqualLettersAreOnePiece) {
  GgufVocabulary vocabulary = byte_vocabulary("llama-bpe");
  std::string token = "a";
  for (int i = 0; i < 6; ++i) {
    vocabulary.merges.push_back(token + " " + token);
    token += token;
    add(vocabulary, token, 1);
  }
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_EQ(tokenizer->encode(std::string(1'000'000, 'a'), false), Ids(1'000'000 / 64, 261));
  EXPECT_EQ(tokenizer->encode(std::string(1'000'000, ' ') + "a", false).size(), 1'000'001U);
}

}  // namespace
}  // namespace llm_tp

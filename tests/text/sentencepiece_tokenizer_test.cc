#include <gmock/gmock.h>

#include <array>
#include <cstdio>

#include "text/tokenizer_files.h"
#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using ::testing::ElementsAre;

using Ids = std::vector<TokenId>;
const std::string kSpace = "\xE2\x96\x81";

std::unique_ptr<Tokenizer> harbour() { return load_tokenizer(LLM_TP_SOURCE_DIR "/models/harbour/hf"); }

/// <unk> <s> </s>, 256 byte tokens from id 3, then "▁" 259, "a" 260, "b" 261, "ab" 262, "▁ab" 263, "<x>" 264
/// user defined.
GgufVocabulary small_vocabulary() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  const auto add = [&](const std::string& text, float score, int type) {
    vocabulary.tokens.push_back(text);
    vocabulary.scores.push_back(score);
    vocabulary.types.push_back(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "<0x%02X>", byte);
    add(text.data(), 0, 6);
  }
  add(kSpace, -10, 1);
  add("a", -11, 1);
  add("b", -12, 1);
  add("ab", -1, 1);
  add(kSpace + "ab", -2, 1);
  add("<x>", 0, 4);
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.unk = 0;
  return vocabulary;
}

TEST(SentencePieceTokenizer, HarbourEncodesAsItsReferenceDoes) {
  const auto tokenizer = harbour();
  const Ids ids{1,   997, 362, 363, 956, 335, 961, 484, 15,  15,
                998, 833, 479, 825, 743, 978, 263, 574, 485, 371};
  const std::string text = "Jack Meets Lily\n\nEarly one windy Friday, a small boat came";
  EXPECT_EQ(tokenizer->encode(text, true), ids);
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_EQ(tokenizer->decode(ids, true), "<s>" + text);
}

TEST(SentencePieceTokenizer, HarbourPutsNoSpaceBeforeTextAndTakesNoneAway) {
  const auto tokenizer = harbour();
  for (const char* text : {"boat", " boat", "  boat ", "", " ", "\xF0\x9F\x98\x80 \xE4\xBD\xA0"}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true)), text);
  }
}

TEST(SentencePieceTokenizer, HarbourNamesItsSpecialTokens) {
  const auto tokenizer = harbour();
  EXPECT_EQ(tokenizer->vocabulary_size(), 1024);
  EXPECT_EQ(tokenizer->begin_id(), 1);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(2));
  EXPECT_EQ(tokenizer->id_of("<|im_end|>"), 4);
  EXPECT_TRUE(tokenizer->chat_template().has_value());
  EXPECT_THAT(tokenizer->encode("<|im_start|><|im_end|>", false), ElementsAre(3, 4));
  EXPECT_THAT(tokenizer->encode("<|im_end|>", false, false), ::testing::Not(::testing::Contains(4)));
  EXPECT_EQ(tokenizer->piece(4), "");
  EXPECT_EQ(tokenizer->piece(4, true), "<|im_end|>");
}

TEST(SentencePieceTokenizer, GgufTextGetsOneSpaceBeforeItAndLosesItAgain) {
  const auto tokenizer = make_tokenizer(small_vocabulary());
  EXPECT_THAT(tokenizer->encode("ab", true), ElementsAre(1, 263));
  EXPECT_THAT(tokenizer->encode(" ab", false), ElementsAre(259, 263));
  EXPECT_EQ(tokenizer->decode({1, 263}), "ab");
  EXPECT_EQ(tokenizer->decode({1, 259, 263}), " ab");
  EXPECT_EQ(tokenizer->piece(263), " ab");
}

TEST(SentencePieceTokenizer, GgufTextAfterASpecialTokenGetsASpaceToo) {
  const auto tokenizer = make_tokenizer(small_vocabulary());
  EXPECT_THAT(tokenizer->encode("ab</s>ab", false), ElementsAre(263, 2, 263));
  EXPECT_THAT(tokenizer->encode("ab<x>ab", false), ElementsAre(263, 264, 263));
}

TEST(SentencePieceTokenizer, GgufWithoutSpacePrefixPutsNone) {
  GgufVocabulary vocabulary = small_vocabulary();
  vocabulary.add_space_prefix = false;
  vocabulary.add_eos = true;
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_THAT(tokenizer->encode("ab ab", true), ElementsAre(1, 262, 263, 2));
  EXPECT_EQ(tokenizer->decode({263}), " ab");
}

TEST(SentencePieceTokenizer, GgufChatMarkersStayPlainTextThoughTheFileCallsThemUserDefined) {
  GgufVocabulary vocabulary = small_vocabulary();
  vocabulary.tokens.back() = "<|x|>";
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_THAT(tokenizer->encode("<|x|>", false), ElementsAre(264));
  EXPECT_THAT(tokenizer->encode("<|x|>", false, false), ::testing::Not(::testing::Contains(264)));
}

TEST(SentencePieceTokenizer, UnknownLettersFallBackToBytes) {
  GgufVocabulary vocabulary = small_vocabulary();
  vocabulary.add_space_prefix = false;
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_THAT(tokenizer->encode("\xC3\xA9", false), ElementsAre(3 + 0xC3, 3 + 0xA9));
  EXPECT_EQ(tokenizer->decode({3 + 0xC3, 3 + 0xA9}), "\xC3\xA9");
  EXPECT_EQ(tokenizer->decode({3 + 0xC3}), "\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->piece(3 + 0xC3), "\xC3");
}

TEST(SentencePieceTokenizer, DuplicateEmptyAndMissingPiecesAreTaken) {
  GgufVocabulary vocabulary = small_vocabulary();
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"ab", "", "<0x41>"});
  vocabulary.scores.insert(vocabulary.scores.end(), {-1, 0, 0});
  vocabulary.types.insert(vocabulary.types.end(), {1, 1, 6});
  vocabulary.types[0] = 3;  // no unknown token at all
  const auto tokenizer = make_tokenizer(vocabulary);
  EXPECT_EQ(tokenizer->vocabulary_size(), 268);
  EXPECT_THAT(tokenizer->encode("ab", false), ElementsAre(263));
}

TEST(SentencePieceTokenizer, BrokenModelsAreRefused) {
  for (const std::string& bytes :
       {std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), std::string("hello"), std::string(),
        std::string("\x0A\x05\x0A\x03"
                    "abc",
                    7)}) {
    expect_error(ExitCode::kBadData, "", [&] { tokenizer_from_sentencepiece(bytes, {}); });
  }
}

TEST(SentencePieceTokenizer, AMillionEqualLettersAreEncoded) {
  const auto tokenizer = harbour();
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false)), text);
}

}  // namespace
}  // namespace llm_tp

#include "text/regex_splitter.h"

#include <gmock/gmock.h>

#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using ::testing::ElementsAre;

std::vector<std::string_view> split(const std::string& pattern, std::string_view text) {
  std::vector<std::string_view> pieces;
  RegexSplitter(pattern).split(text, pieces);
  return pieces;
}

TEST(RegexSplitter, BehavioursCutAsHuggingFaceDoes) {
  const auto split = [](SplitBehavior behavior, bool invert = false) {
    std::vector<std::string_view> pieces;
    RegexSplitter("-", behavior, invert).split("a-b--c", pieces);
    return pieces;
  };
  EXPECT_THAT(split(SplitBehavior::kIsolated), ElementsAre("a", "-", "b", "-", "-", "c"));
  EXPECT_THAT(split(SplitBehavior::kRemoved), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split(SplitBehavior::kRemoved, true), ElementsAre("-", "-", "-"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithPrevious), ElementsAre("a-", "b-", "-", "c"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithNext), ElementsAre("a", "-b", "-", "-c"));
  EXPECT_THAT(split(SplitBehavior::kContiguous), ElementsAre("a", "-", "b", "--", "c"));
}

TEST(RegexSplitter, MongolianVowelSeparatorIsNoSpace) {
  std::vector<std::string_view> pieces;
  RegexSplitter(R"(\s)").split("a\xE1\xA0\x8E\xC2\x85", pieces);  // U+180E, U+0085
  EXPECT_THAT(pieces, ElementsAre("a\xE1\xA0\x8E", "\xC2\x85"));
}

TEST(RegexSplitter, CatastrophicPatternsEndWithAnError) {
  std::vector<std::string_view> pieces;
  expect_error(ExitCode::kBadData, "gave up",
               [&] { RegexSplitter("(a+)+b|(a*)*c").split(std::string(40, 'a'), pieces); });
  expect_error(ExitCode::kBadData, "does not compile", [] { RegexSplitter("(a"); });
}

TEST(RegexSplitter, AMatchOfNothingCuts) {
  EXPECT_THAT(split("x*", "ab"), ElementsAre("a", "b"));
  EXPECT_THAT(split("(?=b)", "abab"), ElementsAre("a", "ba", "b"));
  EXPECT_THAT(split("(?=b)",
                    "\xC3\xA9"
                    "b"),
              ElementsAre("\xC3\xA9", "b"));
}

TEST(RegexSplitter, LineEndsAreThoseOfRuby) {
  EXPECT_THAT(split("[ \\n]+$", "a \nb \n"), ElementsAre("a", " ", "\nb", " ", "\n"));
  EXPECT_THAT(split("^.", "ab\ncd"), ElementsAre("a", "b\n", "c", "d"));
}

TEST(RegexSplitter, LettersOfWordsAreThoseOfOniguruma) {
  EXPECT_THAT(split("\\w+", "e\xCC\x81_1-"), ElementsAre("e\xCC\x81_1", "-"));  // a combining acute
  EXPECT_THAT(split("\\w+", "a\xC2\xBD"), ElementsAre("a", "\xC2\xBD"));        // one half is no letter
  EXPECT_THAT(split("\\h+", "fg"), ElementsAre("f", "g"));
}

TEST(RegexSplitter, WhatOnigurumaAndPcre2ReadDifferentlyIsRefused) {
  for (const char* pattern :
       {"\\bx", "a{1,2}+", "[a[bc]]", "[a&&b]", "(?m:a)", "(?<n>a)", "[]a]", "[^\\S]", "\\Kx"})
    expect_error(ExitCode::kBadData, "not supported", [&] { RegexSplitter{std::string(pattern)}; });
  EXPECT_THAT(split("\\p{L}+", "ab1"), ElementsAre("ab", "1"));
}

}  // namespace
}  // namespace llm_tp

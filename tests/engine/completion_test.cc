#include "engine/completion.h"

#include <gtest/gtest.h>

namespace llm_tp {
namespace {

std::string all_of(StopMatcher& matcher, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += matcher.push(piece);
  return text + matcher.finish();
}

std::vector<std::string> letters(const std::string& text) {
  std::vector<std::string> pieces;
  for (char c : text) pieces.emplace_back(1, c);
  return pieces;
}

TEST(StopMatcher, EndsTheTextBeforeTheStopWhateverTheBordersOfThePieces) {
  const std::string text = "one two END three";
  for (std::size_t cut = 0; cut <= text.size(); ++cut)
    for (std::size_t second = cut; second <= text.size(); ++second) {
      StopMatcher matcher({"END"}, false);
      EXPECT_EQ(all_of(matcher, {text.substr(0, cut), text.substr(cut, second - cut), text.substr(second)}),
                "one two ");
      EXPECT_TRUE(matcher.matched());
    }
}

TEST(StopMatcher, MayLeaveTheStopInTheText) {
  StopMatcher matcher({"END"}, true);
  EXPECT_EQ(all_of(matcher, letters("one END two")), "one END");
}

TEST(StopMatcher, HoldsBackNoMoreThanMayBecomeAStop) {
  StopMatcher matcher({"abcd"}, false);
  EXPECT_EQ(matcher.push("xxab"), "xx");
  EXPECT_EQ(matcher.push("c"), "");
  EXPECT_EQ(matcher.push("e"), "abce");
  EXPECT_EQ(matcher.push("aab"), "a");
  EXPECT_EQ(matcher.finish(), "ab");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcher, TheEarliestOfSeveralWins) {
  StopMatcher matcher({"three", "two", "wo th"}, false);
  EXPECT_EQ(all_of(matcher, {"one two three"}), "one ");
}

TEST(StopMatcher, AStopThatBeginsWithinAFailedOneIsFound) {
  StopMatcher matcher({"aab"}, false);
  EXPECT_EQ(all_of(matcher, letters("xaaab")), "xa");
  EXPECT_TRUE(matcher.matched());
}

TEST(StopMatcher, SaysNothingAfterTheStop) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.push("aEND"), "a");
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, WithoutStopsEverythingIsSureAtOnce) {
  StopMatcher matcher({}, false);
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_EQ(matcher.finish(), "");
}

/// One token a piece; the last one is a control token without text.
class PieceTokenizer final : public Tokenizer {
 public:
  int vocabulary_size() const override { return static_cast<int>(kPieces.size()); }
  std::vector<TokenId> encode(std::string_view, bool, bool) const override { return {}; }
  std::string piece(TokenId id, bool) const override { return kPieces.at(static_cast<std::size_t>(id)); }
  std::string decode(const std::vector<TokenId>& ids, bool) const override {
    std::string text;
    for (TokenId id : ids) text += piece(id, false);
    return text;
  }
  std::optional<TokenId> begin_id() const override { return std::nullopt; }
  std::vector<TokenId> end_ids() const override { return {}; }
  std::optional<TokenId> id_of(std::string_view) const override { return std::nullopt; }
  std::optional<std::string> chat_template() const override { return std::nullopt; }

 private:
  // Euro is E2 82 AC; 4 and 5 and 6 are its bytes.
  const std::vector<std::string> kPieces{"one", " two", " th", "ree", "\xE2", "\x82", "\xAC", ""};
};
enum : TokenId { kOne, kTwo, kTh, kRee, kEuro1, kEuro2, kEuro3, kEnd };

Progress token(TokenId id, std::optional<FinishReason> finished = std::nullopt, double logprob = -1) {
  Progress progress;
  progress.row.token = id;
  progress.row.logprob = logprob;
  progress.new_token = true;
  progress.finished = finished;
  return progress;
}

TEST(Completion, TextIsThatOfTheTokensAndTheSumThatOfTheirLogProbabilities) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {}, false);
  EXPECT_EQ(completion.push(token(kOne, std::nullopt, -0.5)), "one");
  EXPECT_FALSE(completion.finished());
  EXPECT_EQ(completion.push(token(kTwo, FinishReason::kLength, -0.25)), " two");
  EXPECT_TRUE(completion.finished());
  EXPECT_EQ(completion.text(), "one two");
  EXPECT_EQ(completion.tokens().size(), 2U);
  EXPECT_EQ(completion.cumulative_logprob(), -0.75);
  EXPECT_STREQ(completion.finish_reason(), "length");
}

TEST(Completion, AnEndIdIsATokenButNoText) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {}, false);
  completion.push(token(kOne));
  EXPECT_EQ(completion.push(token(kTwo, FinishReason::kStop)), "");
  EXPECT_EQ(completion.text(), "one");
  EXPECT_EQ(completion.tokens().back().id, kTwo);
  EXPECT_STREQ(completion.finish_reason(), "stop");
}

TEST(Completion, HalfACodePointWaitsForItsRest) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {}, false);
  EXPECT_EQ(completion.push(token(kEuro1)), "");
  EXPECT_EQ(completion.push(token(kEuro2)), "");
  EXPECT_EQ(completion.push(token(kEuro3)), "\xE2\x82\xAC");
}

TEST(Completion, WhatNeverBecomesACodePointEndsAsAReplacementCharacter) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {}, false);
  completion.push(token(kEuro1));
  EXPECT_EQ(completion.push(token(kEuro2, FinishReason::kLength)), "\xEF\xBF\xBD");
  EXPECT_EQ(completion.text(), "\xEF\xBF\xBD");
}

TEST(Completion, AStopTextAcrossTokensEndsItAndIsLeftOut) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {"two three"}, false);
  EXPECT_EQ(completion.push(token(kOne)), "one");
  EXPECT_EQ(completion.push(token(kTwo)), " ");
  EXPECT_EQ(completion.push(token(kTh)), "");
  EXPECT_FALSE(completion.stopped());
  EXPECT_EQ(completion.push(token(kRee)), "");
  EXPECT_TRUE(completion.stopped() && completion.finished());
  EXPECT_EQ(completion.text(), "one ");
  EXPECT_STREQ(completion.finish_reason(), "stop");
}

TEST(Completion, AStopTextMayBeASymbolOfSeveralTokens) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {"\xE2\x82\xAC"}, true);
  for (TokenId id : {kOne, kEuro1, kEuro2, kEuro3}) completion.push(token(id));
  EXPECT_TRUE(completion.stopped());
  EXPECT_EQ(completion.text(), "one\xE2\x82\xAC");
}

TEST(Completion, WhatMightHaveBecomeAStopComesWithTheLastToken) {
  const PieceTokenizer tokenizer;
  Completion completion(&tokenizer, {"one two three"}, false);
  EXPECT_EQ(completion.push(token(kOne)), "");
  EXPECT_EQ(completion.push(token(kTwo, FinishReason::kLength)), "one two");
  EXPECT_STREQ(completion.finish_reason(), "length");
}

TEST(Completion, WithoutATokenizerThereAreTokensOnly) {
  Completion completion(nullptr, {}, false);
  EXPECT_EQ(completion.push(token(kOne, FinishReason::kLength)), "");
  EXPECT_FALSE(completion.has_text());
  EXPECT_EQ(completion.tokens().size(), 1U);
}

}  // namespace
}  // namespace llm_tp

#include "text/bpe_model.h"

#include <gmock/gmock.h>

#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;
using ::testing::ElementsAre;
using Ids = std::vector<TokenId>;

Ids encode(const BpeModel& model, std::string_view piece) {
  Ids ids;
  model.encode(piece, ids);
  return ids;
}

TEST(BpeModel, AMillionEqualLettersTakeLinearlyManySteps) {
  BpeModel::Tokens tokens{{"a", 0}};
  BpeModel::Rules rules;
  for (TokenId id = 1; id <= 6; ++id) {
    tokens.emplace(std::string(std::size_t{1} << id, 'a'), id);
    rules.merges.push_back({id - 1, id - 1, id, static_cast<std::uint32_t>(id)});
  }
  const BpeModel model(tokens, rules);
  for (const std::size_t letters : {std::size_t{1} << 10, std::size_t{1} << 20}) {
    Ids ids;
    const std::size_t steps = model.encode(std::string(letters, 'a'), ids);
    EXPECT_EQ(ids, Ids(letters / 64, 6));
    EXPECT_LE(steps, 4 * letters);
  }
}

TEST(BpeModel, LeftmostOfEqualPairsIsJoinedFirst) {
  BpeModel::Rules rules;
  rules.merges = {{0, 0, 1, 0}};
  const BpeModel model({{"a", 0}, {"aa", 1}}, rules);
  EXPECT_THAT(encode(model, "aaa"), ElementsAre(1, 0));
}

TEST(BpeModel, UnknownCharactersBecomeBytesOrTheUnknownTokenOrNothing) {
  BpeModel::Tokens tokens{{"a", 0}, {"<unk>", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}};
  BpeModel::Rules rules;
  rules.byte_fallback = true;
  rules.unknown = 1;
  EXPECT_THAT(encode(BpeModel(tokens, rules), "a\xC3\xA9"), ElementsAre(0, 2, 3));
  EXPECT_THAT(encode(BpeModel(tokens, rules),
                     "\xC3\xA8\xC3\xA7"
                     "a"),
              ElementsAre(1, 1, 0));  // no <0xA8>
  rules.fuse_unknown = true;
  EXPECT_THAT(encode(BpeModel(tokens, rules),
                     "\xC3\xA8\xC3\xA7"
                     "a"),
              ElementsAre(1, 0));
  rules.unknown.reset();
  EXPECT_THAT(encode(BpeModel(tokens, rules),
                     "\xC3\xA8"
                     "a"),
              ElementsAre(0));
  rules.missing_unknown = "<unk>";
  EXPECT_THAT(encode(BpeModel(tokens, rules), "a"), ElementsAre(0));
  expect_error(ExitCode::kBadData, "model.unk_token", [&] { encode(BpeModel(tokens, rules), "\xC3\xA8"); });
}

TEST(BpeModel, WholePiecesAreTakenWhereMergesAreIgnored) {
  const BpeModel::Tokens tokens{{"a", 0}, {"b", 1}, {"ab", 2}};
  BpeModel::Rules rules;
  EXPECT_THAT(encode(BpeModel(tokens, rules), "ab"), ElementsAre(0, 1));
  rules.ignore_merges = true;
  EXPECT_THAT(encode(BpeModel(tokens, rules), "ab"), ElementsAre(2));
}

}  // namespace
}  // namespace llm_tp

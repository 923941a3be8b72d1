#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "decoding/grammar/byte_automaton.h"
#include "decoding/grammar/frontends.h"
#include "decoding/grammar/grammar_guide.h"
#include "decoding/grammar/network.h"
#include "json_schemas.h"

namespace llm_tp {
namespace {

using nlohmann::ordered_json;

bool accepts(const Grammar& grammar, const std::string& text) {
  ByteAutomaton automaton(Network::compile(grammar, "test"));
  ByteAutomaton::State state = automaton.start();
  for (const char c : text) {
    if (state == ByteAutomaton::kDead) return false;
    state = automaton.next(state, static_cast<std::uint8_t>(c));
  }
  return state != ByteAutomaton::kDead && automaton.accepts(state);
}

void expect_texts(const Grammar& grammar, const std::vector<std::string>& good,
                  const std::vector<std::string>& bad) {
  for (const std::string& text : good) EXPECT_TRUE(accepts(grammar, text)) << text;
  for (const std::string& text : bad) EXPECT_FALSE(accepts(grammar, text)) << text;
}

void expect_refused(const std::function<void()>& make, const std::string& word) {
  try {
    make();
    ADD_FAILURE() << "no error that says " << word;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(Regex, MatchesAsAWhole) {
  expect_texts(grammar_of_regex("a+b?"), {"a", "ab", "aaab"}, {"", "b", "abb", "xa"});
  expect_texts(grammar_of_regex("^(yes|no)$"), {"yes", "no"}, {"", "yesno", "ye"});
  expect_texts(grammar_of_regex("[0-9]{3}-\\d{2,4}"), {"123-45", "123-4567"},
               {"123-4", "12-45", "123-45678"});
  expect_texts(grammar_of_regex("[^a-y]z|\\.\\x41\\u00e9"), {"zz", "éz", ".Aé"}, {"az", "xAé", "\xffz"});
  expect_texts(grammar_of_regex("(?:x(y|z)*)*?"), {"", "x", "xyzx"}, {"y"});
  expect_texts(grammar_of_regex("."), {"é", "🙂", "\xED\x9F\xBF"},
               {"\n", "\xED\xA0\x80", "\xC0\x80", "ab"});
}

TEST(Regex, RefusesWhatIsNotRegularOrTooLarge) {
  expect_refused([] { grammar_of_regex("(?=a)"); }, "look-around");
  expect_refused([] { grammar_of_regex("(a)\\1"); }, "\\1 is not supported");
  expect_refused([] { grammar_of_regex("(a"); }, "wanted )");
  expect_refused([] { grammar_of_regex("*a"); }, "nothing stands before");
  expect_refused([] { grammar_of_regex("a{3,1}"); }, "fall");
  expect_refused([] { Network::compile(grammar_of_regex("a{100000}"), "regex"); }, "50000");
  expect_refused([] { Network::compile(grammar_of_regex("((a{1000}){1000}){1000}"), "regex"); }, "50000");
}

TEST(Ebnf, RulesMayHoldThemselves) {
  const Grammar grammar = grammar_of_ebnf(
      "root ::= \"(\" root \")\" | term # nested\nterm ::= [a-c]+\n  | \"\\n\"{2}\n", "file.ebnf");
  expect_texts(grammar, {"a", "((abc))", "(\n\n)"}, {"", "(a", "a)", "\n"});
}

TEST(Ebnf, RefusesGrammarsThatCannotBeFollowed) {
  const auto compile = [](const char* text) {
    return [=] { Network::compile(grammar_of_ebnf(text, "g"), "g"); };
  };
  expect_refused(compile("root ::= root \"a\" | \"b\""), "left recursion");
  expect_refused(compile("root ::= x root | \"b\"\nx ::= \"a\"?"), "left recursion");
  expect_refused(compile("root ::= \"a\" root"), "never comes to an end");
  expect_refused(compile("root ::= other"), "\"other\" has no body");
  expect_refused(compile("root ::= \"a\nroot ::= \"b\""), "g:1:");
  expect_refused(compile("root = \"a\""), "g:1:6: wanted ::=");
  expect_refused(compile(""), "no rule");
}

TEST(Ebnf, RightRecursionNeedsNoStack) {
  ByteAutomaton automaton(Network::compile(grammar_of_ebnf("root ::= \"a\" root | \"b\"", "g"), "g"));
  const auto one = automaton.next(automaton.start(), 'a');
  EXPECT_EQ(automaton.next(one, 'a'), one);
}

TEST(Ebnf, AmbiguityThatDoublesWithEachByteEndsAtABound) {
  constexpr int kDepth = 40;  // 2^40 stacks
  std::string text = "root ::= r0\n";
  for (int i = 0; i < kDepth; ++i) {
    const std::string next = "r" + std::to_string(i + 1);
    text += "r" + std::to_string(i) + " ::= \"a\" " + next + " \"b\" | \"a\" " + next + " \"c\"\n";
  }
  text += "r" + std::to_string(kDepth) + " ::= \"x\"\n";
  ByteAutomaton automaton(Network::compile(grammar_of_ebnf(text, "g"), "g"));
  ByteAutomaton::State state = automaton.start();
  int bytes = 0;
  for (; bytes < kDepth && state != ByteAutomaton::kDead; ++bytes) state = automaton.next(state, 'a');
  EXPECT_EQ(state, ByteAutomaton::kDead);
  EXPECT_GT(bytes, 10) << "what is small enough is followed";
}

TEST(JsonSchema, ObjectsHaveTheirMembersInOrder) {
  const Grammar grammar = grammar_of_json_schema(
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", null]}, "c": true},
          "required": ["b"], "additionalProperties": false})",
      "s");
  expect_texts(grammar, {R"({"b": "x"})", R"({"a": -12, "b": null})", R"({"b": "x", "c": [1, {"k": "v"}]})"},
               {"{}", R"({"a": 1})", R"({"b": "x", "a": 1})", R"({"a": 01, "b": "x"})", R"({"b": "x",})",
                R"({"b": "y"})", R"({"b": "x", "d": 1})"});
}

TEST(JsonSchema, SchemasMayHoldThemselves) {
  const Grammar grammar = grammar_of_json_schema(
      R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}})",
      "s");
  expect_texts(grammar, {"[]", "[[], [[]]]"}, {"[1]", "[[]", "[[],[]]"});
}

TEST(JsonSchema, StringsAreThoseOfJson) {
  const Grammar grammar =
      grammar_of_json_schema(R"({"type": "string", "minLength": 1, "maxLength": 3})", "s");
  expect_texts(grammar, {"\"a\"", "\"é🙂x\"", R"("\n\u0041")"},
               {"\"\"", "\"abcd\"", "\"\n\"", R"("\ud800")", R"("\x")"});
  const Grammar pattern = grammar_of_json_schema(R"({"type": "string", "pattern": "^[a-c]+\\d"})", "s");
  expect_texts(pattern, {"\"a1\"", "\"cb7 more\""}, {"\"1\"", "\"a\""});
}

TEST(JsonSchema, RefusesKeywordsByNameAndPlace) {
  const auto schema = [](const char* text) { return [=] { grammar_of_json_schema(text, "s.json"); }; };
  expect_refused(schema(R"({"type": "integer", "minimum": 3})"), "\"minimum\" is not supported");
  expect_refused(schema(R"({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}})"),
                 "#/properties/a: the keyword \"format\"");
  expect_refused(schema(R"({"oneOf": []})"), "\"oneOf\"");
  expect_refused(schema(R"({"$ref": "http://x"})"), "$ref");
  expect_refused(schema(R"({"$ref": "#/$defs/none"})"), "leads nowhere");
  expect_refused(schema(R"({"type": "objekt"})"), "not known");
  expect_refused(schema(R"({"type": "object", "required": ["a"]})"), "\"a\"");
  expect_refused(schema("{"), "s.json");
  expect_refused(schema("false"), "nothing");
}

/// Bytes, and some texts of several bytes that cross borders of the grammar.
std::vector<std::string> some_vocabulary() {
  std::vector<std::string> pieces{""};
  for (int b = 0; b < 256; ++b) pieces.emplace_back(1, static_cast<char>(b));
  for (const char* text : {"\": ", "{\"", "\"}", ", \"", "true", "false", "null", "12", "a\"", "\"]", "}}",
                           "]}", "\xC3\xA9\"", "\xF0\x9F", "\x99\x82x", "abc", "\\u00"})
    pieces.emplace_back(text);
  return pieces;
}

/// A text of random tokens that the guide allows, cut off after many.
std::string random_text(Guide& guide, const std::vector<std::string>& pieces, std::mt19937& random,
                        TokenId end) {
  std::string text;
  Guide::State state = guide.start();
  for (int i = 0; i < 3000; ++i) {
    std::vector<TokenId> allowed;
    const TokenMask& mask = guide.mask(state);
    for (std::uint32_t id = 0; id < pieces.size(); ++id) {
      const bool listed = std::binary_search(mask.words.begin(), mask.words.end(), id);
      const bool is_allowed = mask.kind == MaskKind::kAllowed ? listed
                              : mask.kind == MaskKind::kForbidden
                                  ? !listed
                                  : (mask.words[id / 32] >> (id % 32) & 1U) != 0;
      if (is_allowed) allowed.push_back(static_cast<TokenId>(id));
    }
    if (allowed.empty()) break;
    const TokenId token = allowed[random() % allowed.size()];
    if (token == end) break;
    text += pieces[static_cast<std::size_t>(token)];
    state = guide.after(state, token);
    EXPECT_NE(state, Guide::kDead) << text;
    if (guide.is_over(state)) break;
  }
  return text;
}

TEST(JsonSchema, AThousandRandomSchemasGiveTextsThatValidate) {
  std::mt19937 random(7);
  const std::vector<std::string> pieces = some_vocabulary();
  for (int i = 0; i < 1000; ++i) {
    const ordered_json schema = random_schema(random, 3);
    const auto guide = make_guide(grammar_of_json_schema(schema.dump(), "schema"), "schema", pieces, {0});
    const std::string text = random_text(*guide, pieces, random, 0);
    const ordered_json value = ordered_json::parse(text, nullptr, false);
    ASSERT_FALSE(value.is_discarded()) << schema << "\n" << text;
    ASSERT_TRUE(fits(value, schema)) << schema << "\n" << text;
  }
}

TEST(Guide, ForcedTokensSpellTheOnlyWayOn) {
  const auto pieces = some_vocabulary();
  const auto guide = make_guide(
      grammar_of_json_schema(
          R"({"type": "object", "properties": {"abc": {"type": "boolean"}}, "required": ["abc"]})", "s"),
      "s", pieces, {0});
  std::vector<TokenId> forced;
  guide->forced(guide->start(), 8, forced);
  std::string text;
  for (const TokenId id : forced) text += pieces[static_cast<std::size_t>(id)];
  EXPECT_EQ(text, "{\"abc\": ");
  EXPECT_EQ(forced.size(), 3U);
}

TEST(Guide, EndIdsAreAllowedWhereTheTextMayEnd) {
  const auto pieces = some_vocabulary();
  const auto guide = make_guide(grammar_of_regex("a+"), "regex", pieces, {0});
  EXPECT_EQ(guide->mask(guide->start()).words, std::vector<std::uint32_t>{1 + 'a'});
  const auto after = guide->after(guide->start(), 1 + 'a');
  EXPECT_EQ(guide->mask(after).words, (std::vector<std::uint32_t>{0, 1 + 'a'}));
  EXPECT_FALSE(guide->is_over(after));
  EXPECT_EQ(guide->after(after, 0), Guide::kDead);
  EXPECT_EQ(guide->after(guide->start(), 1 + 'b'), Guide::kDead);
}

}  // namespace
}  // namespace llm_tp

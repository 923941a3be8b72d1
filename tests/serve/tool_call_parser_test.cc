#include "serve/tools/tool_call_parser.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>

#include "serve/json_text.h"

namespace llm_tp {
namespace {

const std::vector<Tool> kTools{{"tide", {}, false}, {"lamp_2-b", {}, false}};
constexpr std::array kStyles{ToolStyle::kHermes, ToolStyle::kLlama3, ToolStyle::kMistralList,
                             ToolStyle::kMistralNamed};

struct Call {
  std::string name, arguments, id;
  friend bool operator==(const Call&, const Call&) = default;
};
struct Reply {
  std::string content;
  std::vector<Call> calls;
  friend bool operator==(const Reply&, const Reply&) = default;
};

/// Adds deltas up as a client of a stream does.
class Reader {
 public:
  explicit Reader(ToolStyle style) : parser_(style, kTools) {}
  ReplyDelta push(std::string_view piece) { return add(parser_.push(piece)); }
  Reply finish() {
    add(parser_.finish());
    return reply_;
  }

 private:
  ReplyDelta add(ReplyDelta delta) {
    reply_.content += delta.content;
    for (const ToolCallDelta& call : delta.calls) {
      EXPECT_LE(call.index, reply_.calls.size());
      EXPECT_EQ(call.name.empty(), call.index < reply_.calls.size()) << "the name comes first, and once";
      if (call.index == reply_.calls.size()) reply_.calls.push_back({call.name, {}, call.id});
      reply_.calls[call.index].arguments += call.arguments;
    }
    return delta;
  }
  ToolCallParser parser_;
  Reply reply_;
};

Reply read(ToolStyle style, const std::string& text, std::size_t piece = std::string::npos) {
  Reader reader(style);
  for (std::size_t at = 0; at < text.size(); at += std::min(piece, text.size()))
    reader.push(text.substr(at, piece));
  return reader.finish();
}

/// The same whole and byte by byte.
void expect_reply(ToolStyle style, const std::string& text, const Reply& wanted) {
  for (const std::size_t piece : {std::string::npos, std::size_t{1}, std::size_t{3}}) {
    const Reply found = read(style, text, piece);
    EXPECT_EQ(found.content, wanted.content) << text;
    ASSERT_EQ(found.calls.size(), wanted.calls.size()) << text;
    for (std::size_t i = 0; i < found.calls.size(); ++i) {
      EXPECT_EQ(found.calls[i].name, wanted.calls[i].name) << text;
      EXPECT_EQ(found.calls[i].arguments, wanted.calls[i].arguments) << text;
      EXPECT_EQ(found.calls[i].id, wanted.calls[i].id) << text;
    }
  }
}

TEST(ToolCallParser, HermesCallsAreRead) {
  const auto expect = [](const std::string& text, const Reply& wanted) {
    expect_reply(ToolStyle::kHermes, text, wanted);
  };
  expect("<tool_call>\n{\"name\": \"tide\", \"arguments\": {\"port\": \"Hook\"}}\n</tool_call>",
         {"", {{"tide", R"({"port": "Hook"})", ""}}});
  expect(
      "I look.\n\n<tool_call>{\"name\":\"tide\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
      "{\"arguments\": {\"a\": [1, {\"b\": null}]}, \"name\": \"lamp_2-b\"}\n</tool_call>\n",
      {"I look.", {{"tide", "{}", ""}, {"lamp_2-b", R"({"a": [1, {"b": null}]})", ""}}});
  expect("<tool_call>{\"name\":\"tide\",\"arguments\":{}}</tool_call>\nDone.",
         {"\nDone.", {{"tide", "{}", ""}}});
  // Arguments that are left out, another name of them, arguments as a text.
  expect("<tool_call>{\"name\":\"tide\"}</tool_call>", {"", {{"tide", "{}", ""}}});
  expect("<tool_call>{\"name\":\"tide\",\"parameters\":{\"a\":1}}", {"", {{"tide", "{\"a\":1}", ""}}});
  expect(R"(<tool_call>{"name":"tide","arguments":"{\"a\":\"\u00e9\"}"})",
         {"", {{"tide", R"({"a":"é"})", ""}}});
  // A last brace that the model forgot, and the end that it left out before the next call.
  expect("<tool_call>{\"name\":\"tide\",\"arguments\":{\"a\":1}\n</tool_call>",
         {"", {{"tide", "{\"a\":1}", ""}}});
  expect("<tool_call>{\"name\":\"tide\",\"arguments\":{}}\n<tool_call>{\"name\":\"tide\",\"arguments\":{}}",
         {"", {{"tide", "{}", ""}, {"tide", "{}", ""}}});
}

TEST(ToolCallParser, WhatStandsInStringsIsNoSyntax) {
  const std::string arguments =
      R"({"text": "}}]\"</tool_call><tool_call>{ \\", "more": "\u007b [TOOL_CALLS] é 🙂"})";
  const Reply wanted{"", {{"tide", arguments, ""}}};
  const std::string object = R"({"name": "tide", "arguments": )" + arguments + "}";
  expect_reply(ToolStyle::kHermes, "<tool_call>\n" + object + "\n</tool_call>", wanted);
  expect_reply(ToolStyle::kLlama3, object, wanted);
  expect_reply(ToolStyle::kMistralList, "[TOOL_CALLS][" + object + "]", wanted);
  expect_reply(ToolStyle::kMistralNamed, "[TOOL_CALLS]tide[ARGS]" + arguments, wanted);
  // The name may be written with escapes, too.
  expect_reply(ToolStyle::kLlama3, R"({"name": "\u0074ide", "parameters": {}})", {"", {{"tide", "{}", ""}}});
}

TEST(ToolCallParser, Llama3CallsAreRead) {
  const auto expect = [](const std::string& text, const Reply& wanted) {
    expect_reply(ToolStyle::kLlama3, text, wanted);
  };
  expect(R"({"name": "tide", "parameters": {"port": "Hook"}})", {"", {{"tide", R"({"port": "Hook"})", ""}}});
  expect("\n\n{\"type\": \"function\", \"name\": \"tide\", \"parameters\": {}}\n",
         {"", {{"tide", "{}", ""}}});
  expect(R"(<|python_tag|>{"name": "tide", "parameters": {}}; {"name": "lamp_2-b", "parameters": {}})",
         {"", {{"tide", "{}", ""}, {"lamp_2-b", "{}", ""}}});
  expect(R"(I look.<|python_tag|>{"name": "tide", "parameters": {}})", {"I look.", {{"tide", "{}", ""}}});
  // An answer in JSON is an answer, and so are a call in the midst of a text and the tag's other use.
  for (const char* text :
       {R"({"answer": {"name": "tide"}} and more)", R"({"name": "Maya", "type": "person"})",
        R"({"name": "tide"})", R"(So: {"name": "tide", "parameters": {}})", "<|python_tag|>print(1)", "{",
        "{\"name\": \"tide\", \"param"})
    expect(text, {text, {}});
}

TEST(ToolCallParser, MistralCallsAreRead) {
  for (const ToolStyle style : {ToolStyle::kMistralList, ToolStyle::kMistralNamed}) {
    const auto expect = [&](const std::string& text, const Reply& wanted) {
      expect_reply(style, text, wanted);
    };
    expect(
        R"([TOOL_CALLS] [{"name": "tide", "arguments": {"day": 2}}, {"name": "lamp_2-b", "arguments": {}}])",
        {"", {{"tide", R"({"day": 2})", ""}, {"lamp_2-b", "{}", ""}}});
    expect(R"([TOOL_CALLS][{"arguments": {}, "id": "abc123def", "name": "tide"}] )",
           {"", {{"tide", "{}", ""}}});
    expect(R"([TOOL_CALLS]{"name": "tide", "arguments": {}})", {"", {{"tide", "{}", ""}}});
    expect(R"(Wait. [TOOL_CALLS]tide[ARGS]{"a": 1}[TOOL_CALLS]lamp_2-b[CALL_ID]abc123def[ARGS] {})",
           {"Wait.", {{"tide", R"({"a": 1})", ""}, {"lamp_2-b", "{}", "abc123def"}}});
    expect(R"([TOOL_CALLS]tide{"a": 1}[TOOL_CALLS]tide{})",
           {"", {{"tide", R"({"a": 1})", ""}, {"tide", "{}", ""}}});
    for (const char* text : {"[TOOL_CALLS]", "[TOOL_CALLS][", "[TOOL_CALLS][]", "[TOOL_CALLS]tide",
                             "[TOOL_CALLS]tide is a word", "[TOOL_CALLS]tide[ARGS]",
                             "[TOOL_CALLS]tide[ARGS]none", "[TOOL_CALLS]tide[CALL_ID]a[CALL_ID]b[ARGS]{}",
                             "[TOOL_CALLS]tide[MORE]{}", "[TOOL_CALLS]nobody[ARGS]{}",
                             "[TOOL_CALLS][{\"name\": \"nobody\"}]", "[TOOL_CALLS][1, 2]", "[[TOOL_CALL]S]"})
      expect(text, {text, {}});
  }
}

TEST(ToolCallParser, AMalformedCallIsContentToTheByte) {
  for (const char* text :
       {"", " \n", "Just text. ", "1 < 2 <tool", "<tool_call>", "<tool_call>\n{",
        "<tool_call>none</tool_call>", "<tool_call>{\"name\": \"nobody\", \"arguments\": {}}\n</tool_call>\n",
        "<tool_call>{'name': 'tide'}</tool_call>", "<tool_call>{\"name\": 3, \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"tide\", \"arguments\": [1]}",
        "<tool_call>{\"arguments\": {}}</tool_call> and so on", "</tool_call>",
        "<tool_call>{\"name\": \"tide\", \"arguments\": \"no object\"}</tool_call>",
        "<tool_call>{\"name\": \"tide\", \"function\": {}}</tool_call>",
        "<tool_call>{\"name\": \"tide\", \"name\": \"lamp_2-b\", \"arguments\": {}}</tool_call>"})
    expect_reply(ToolStyle::kHermes, text, {text, {}});
  // One that is none does not hide the next.
  expect_reply(ToolStyle::kHermes, "<tool_call><tool_call>{\"name\":\"tide\",\"arguments\":{}}</tool_call>",
               {"<tool_call>", {{"tide", "{}", ""}}});
  expect_reply(ToolStyle::kMistralList, "[TOOL_CALLS]x [TOOL_CALLS]tide[ARGS]{}",
               {"[TOOL_CALLS]x", {{"tide", "{}", ""}}});
}

TEST(ToolCallParser, ArgumentsThatAreCutOffOrBreakStayAsFarAsTheyCame) {
  expect_reply(ToolStyle::kHermes, "<tool_call>{\"name\": \"tide\", \"arguments\": {\"port\": \"Ho",
               {"", {{"tide", "{\"port\": \"Ho", ""}}});
  expect_reply(ToolStyle::kMistralNamed, "[TOOL_CALLS]tide[ARGS]{\"port\"",
               {"", {{"tide", "{\"port\"", ""}}});
  expect_reply(ToolStyle::kMistralList, "[TOOL_CALLS][{\"name\": \"tide\", \"arguments\": {}}, ",
               {"", {{"tide", "{}", ""}}});
  expect_reply(ToolStyle::kHermes, "<tool_call>{\"name\": \"tide\", \"arguments\": {\"a\": 1, }}</tool_call>",
               {"}}</tool_call>", {{"tide", "{\"a\": 1, ", ""}}});
  expect_reply(ToolStyle::kMistralNamed, "[TOOL_CALLS]tide[ARGS]{\"a\" 1}",
               {"1}", {{"tide", "{\"a\" ", ""}}});
}

TEST(ToolCallParser, TextIsGivenAtOnceAndNeverHalfAMarker) {
  Reader reader(ToolStyle::kHermes);
  EXPECT_EQ(reader.push("I look").content, "I look");
  EXPECT_EQ(reader.push(" up.").content, " up.");
  EXPECT_EQ(reader.push(" \n<to").content, "");
  EXPECT_EQ(reader.push("ol_").content, "");
  EXPECT_EQ(reader.push("tip> <tool_").content, " \n<tool_tip>");
  ReplyDelta delta = reader.push("call>\n{\"name\": \"tide\", \"argum");
  EXPECT_TRUE(delta.content.empty() && delta.calls.empty());
  delta = reader.push("ents\": {\"po");
  ASSERT_EQ(delta.calls.size(), 1u);
  EXPECT_EQ(delta.calls[0].name, "tide");
  EXPECT_EQ(delta.calls[0].arguments, "{\"po");
  delta = reader.push("rt\": 1}");
  ASSERT_EQ(delta.calls.size(), 1u);
  EXPECT_TRUE(delta.calls[0].name.empty());
  EXPECT_EQ(delta.calls[0].arguments, "rt\": 1}");
  delta = reader.push("}\n</tool_call>");
  EXPECT_TRUE(delta.content.empty() && delta.calls.empty());
}

/// Pieces that replies are made of, good ones and bad ones.
rc::Gen<std::string> reply_text() {
  const auto piece = rc::gen::weightedOneOf<std::string>(
      {{6, rc::gen::element<std::string>("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]",
                                         "[ARGS]", "[CALL_ID]", "[", "]", "{", "}", ", ", "; ", "\n", " ",
                                         "tide", "\"", "\\", "\\u00e9", "abc123def",
                                         R"({"name": "tide", "arguments": )",
                                         R"({"name": "tide", "parameters": {"a": [1.5e-3, true]}})",
                                         R"("name": "lamp_2-b")", R"({"a": "}{"})", R"({})", "text")},
       {1, rc::gen::container<std::string>(rc::gen::arbitrary<char>())}});
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(piece),
                      [](const std::vector<std::string>& pieces) {
                        std::string text;
                        for (const std::string& p : pieces) text += p;
                        return text;
                      });
}

RC_GTEST_PROP(ToolCallParser, PiecesOfAnyTextAddUpToTheWhole, ()) {
  const ToolStyle style = *rc::gen::elementOf(kStyles);
  const std::string text = *reply_text();
  const Reply whole = read(style, text);
  Reader reader(style);
  for (std::size_t at = 0; at < text.size();) {
    const auto length = *rc::gen::inRange<std::size_t>(1, 9);
    reader.push(text.substr(at, length));
    at += length;
  }
  RC_ASSERT(reader.finish() == whole);
  if (whole.calls.empty()) RC_ASSERT(whole.content == text);
  for (const Call& call : whole.calls) RC_ASSERT(call.arguments.starts_with("{"));
}

TEST(JsonScanner, AgreesWithAJsonParser) {
  const auto is_json = [](const std::string& text) {
    JsonScanner scanner;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto step = scanner.push(text[i]);
      if (step != JsonScanner::Step::kGoesOn)
        return step == JsonScanner::Step::kWhole && i + 1 == text.size();
    }
    return false;
  };
  for (const std::string value : {"0",
                                  "-0",
                                  "1",
                                  "-12.5",
                                  "1e5",
                                  "1E+5",
                                  "0.1e-07",
                                  "01",
                                  "-",
                                  "1.",
                                  ".5",
                                  "1e",
                                  "1e+",
                                  "+1",
                                  "0x1",
                                  "true",
                                  "tru",
                                  "trues",
                                  "null",
                                  "false",
                                  "nul",
                                  "\"\"",
                                  "\"\\n\\\"\\u12aF\"",
                                  "\"\\x\"",
                                  "\"\\u12g4\"",
                                  "\"a",
                                  "\"a\nb\"",
                                  "[]",
                                  "[1,2]",
                                  "[1,]",
                                  "[,]",
                                  "[1 2]",
                                  "[",
                                  "]",
                                  "{}",
                                  "{\"a\":1}",
                                  "{\"a\":1,}",
                                  "{a:1}",
                                  "{\"a\" 1}",
                                  "{1:2}",
                                  "[{}]",
                                  "[}",
                                  "{]",
                                  "[[[]]]",
                                  " 1 ",
                                  "\t[ 1 , 2 ]\n",
                                  "",
                                  "1,2",
                                  "NaN"})
    for (const std::string& text :
         {"{\"k\":" + value + "}", "{\"k\":[" + value + "]}", "{ \"k\" : " + value + " , \"l\":1}"})
      EXPECT_EQ(is_json(text), Json::parse(text, nullptr, false).is_object()) << text;
  std::string deep = "{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}";
  EXPECT_TRUE(is_json(deep));
  deep = "{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}";
  EXPECT_FALSE(is_json(deep));
}

TEST(JsonScanner, SaysWhatEachByteBelongsTo) {
  const std::string text = R"({"a": 12, "b":[1,{"c":2}],"d" : "x,}" ,"e":true,"f":-0.5})";
  const std::string parts = "-kkk--vv--kkk-vvvvvvvvvvv-kkk---vvvvv--kkk-vvvv-kkk-vvvv-";
  ASSERT_EQ(text.size(), parts.size());
  JsonScanner scanner;
  for (std::size_t i = 0; i < text.size(); ++i) {
    scanner.push(text[i]);
    const auto part = scanner.part();
    EXPECT_EQ(part == JsonScanner::Part::kKey     ? 'k'
              : part == JsonScanner::Part::kValue ? 'v'
                                                  : '-',
              parts[i])
        << i;
  }
}

}  // namespace
}  // namespace llm_tp

#include "serve/tools/tool_grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "decoding/grammar/grammar_guide.h"
#include "serve/api_error.h"
#include "serve/json_text.h"
#include "serve/tools/tool_call_parser.h"

namespace llm_tp {
namespace {

constexpr std::array kStyles{ToolStyle::kHermes, ToolStyle::kLlama3, ToolStyle::kMistralList,
                             ToolStyle::kMistralNamed};
constexpr TokenId kEnd = 256;

const std::string kSchema =
    R"({"type":"object","properties":{"day":{"enum":[1,2,3]},"port":{"enum":["Hook","Wick"]},"deep":{"type":"boolean"}},"required":["port"]})";

ToolRequest request_of(ToolRequest::Choice choice) {
  ToolRequest request;
  request.tools = {{"tide", kSchema, true}, {"lamp", {}, false}};
  request.choice = choice;
  return request;
}

/// A guide over single bytes, and the style's marker as a token of its own.
std::shared_ptr<Guide> guide_of(const ToolRequest& request, ToolStyle style) {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  pieces.emplace_back();  // kEnd
  pieces.emplace_back(tool_marker(style));
  return make_guide(tool_grammar(request, style), "tools", pieces, {kEnd});
}

std::vector<TokenId> allowed(Guide& guide, Guide::State state) {
  const TokenMask& mask = guide.mask(state);
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < 258; ++id) {
    const auto u = static_cast<std::uint32_t>(id);
    const bool listed = std::find(mask.words.begin(), mask.words.end(), u) != mask.words.end();
    if (mask.kind == MaskKind::kBits ? (mask.words[u / 32] >> (u % 32) & 1u) != 0
                                     : listed == (mask.kind == MaskKind::kAllowed))
      ids.push_back(id);
  }
  return ids;
}

bool accepts(Guide& guide, std::string_view text) {
  Guide::State state = guide.start();
  for (const char c : text) {
    if (state == Guide::kDead) return false;
    state = guide.after(state, static_cast<unsigned char>(c));
  }
  if (state == Guide::kDead) return false;
  const std::vector<TokenId> ids = allowed(guide, state);
  return std::find(ids.begin(), ids.end(), kEnd) != ids.end();
}

TEST(ToolGrammar, EveryForcedReplyIsCallsAndNothingElse) {
  std::mt19937 random(7);
  for (const ToolStyle style : kStyles)
    for (const bool parallel : {true, false}) {
      ToolRequest request = request_of(ToolRequest::Choice::kRequired);
      request.parallel = parallel;
      const auto guide = guide_of(request, style);
      for (int walk = 0; walk < 20; ++walk) {
        std::string text;
        Guide::State state = guide->start();
        while (true) {
          const std::vector<TokenId> ids = allowed(*guide, state);
          ASSERT_FALSE(ids.empty()) << text;
          if (std::find(ids.begin(), ids.end(), kEnd) != ids.end() && (ids.size() == 1 || random() % 2 == 0))
            break;
          TokenId id = kEnd;
          while (id == kEnd) id = ids[random() % ids.size()];
          text += id == 257 ? std::string(tool_marker(style)) : std::string(1, static_cast<char>(id));
          state = guide->after(state, id);
        }
        ToolCallParser parser(style, request.tools);
        ReplyDelta reply = parser.push(text);
        EXPECT_EQ(reply.content + parser.finish().content, "") << text;
        ASSERT_FALSE(reply.calls.empty()) << text;
        EXPECT_TRUE(reply.calls.size() == 1 || (parallel && style != ToolStyle::kLlama3)) << text;
        for (const ToolCallDelta& call : reply.calls) {
          const Json arguments = Json::parse(call.arguments);
          if (call.name == "lamp") {
            EXPECT_TRUE(arguments.empty()) << text;
          } else {
            EXPECT_TRUE(arguments["port"] == "Hook" || arguments["port"] == "Wick") << text;
          }
        }
      }
    }
}

TEST(ToolGrammar, ANamedToolIsTheOnlyOne) {
  ToolRequest request = request_of(ToolRequest::Choice::kRequired);
  request.only = 1;
  const auto guide = guide_of(request, ToolStyle::kLlama3);
  EXPECT_TRUE(accepts(*guide, R"({"name": "lamp", "parameters": {}})"));
  EXPECT_FALSE(accepts(*guide, R"({"name": "tide", "parameters": {"port": "Hook"}})"));
  EXPECT_FALSE(accepts(*guide, ""));
}

TEST(ToolGrammar, AutoLeavesTextFreeAndHoldsCallsToTheirForm) {
  const std::string good = R"("port": "Hook"})", bad = R"("harbour": "Hook"})";
  const auto call = [](ToolStyle style, const std::string& arguments) {
    switch (style) {
      case ToolStyle::kHermes:
        return "<tool_call>\n{\"name\": \"tide\", \"arguments\": {" + arguments + "}\n</tool_call>";
      case ToolStyle::kLlama3:
        return "<|python_tag|>{\"name\": \"tide\", \"parameters\": {" + arguments + "}";
      case ToolStyle::kMistralList:
        return "[TOOL_CALLS][{\"name\": \"tide\", \"arguments\": {" + arguments + "}]";
      default:
        return "[TOOL_CALLS]tide[ARGS]{" + arguments;
    }
  };
  for (const ToolStyle style : kStyles) {
    const auto guide = guide_of(request_of(ToolRequest::Choice::kAuto), style);
    for (const std::string& text :
         {std::string(), std::string("Some text. <tool <<tool [TOOL_ [[TOOL_CALL <|<|python"),
          call(style, good), "I look. <<[[" + call(style, good), "é 🙂" + call(style, good)})
      EXPECT_TRUE(accepts(*guide, text)) << text;
    EXPECT_FALSE(accepts(*guide, call(style, bad))) << "the tool is strict";
    EXPECT_FALSE(accepts(*guide, "I look. " + call(style, bad)));
    EXPECT_FALSE(accepts(*guide, "I look. " + std::string(tool_marker(style)) + "so"));
  }
  const auto llama = guide_of(request_of(ToolRequest::Choice::kAuto), ToolStyle::kLlama3);
  EXPECT_TRUE(accepts(*llama, "\n{\"name\": \"lamp\", \"parameters\": {\"anything\": [1]}}"))
      << "it is not strict";
  EXPECT_FALSE(accepts(*llama, " {\"name\": \"nobody\"}"));
}

TEST(ToolGrammar, IsNeededWhereSomethingIsPromised) {
  ToolRequest request = request_of(ToolRequest::Choice::kAuto);
  EXPECT_TRUE(needs_tool_grammar(request)) << "a strict tool";
  request.tools[0].strict = false;
  EXPECT_FALSE(needs_tool_grammar(request));
  request.parallel = false;
  EXPECT_TRUE(needs_tool_grammar(request));
  request.choice = ToolRequest::Choice::kNone;
  EXPECT_FALSE(needs_tool_grammar(request));
  request = request_of(ToolRequest::Choice::kRequired);
  EXPECT_TRUE(needs_tool_grammar(request));
}

TEST(ToolGrammar, SchemasOfNoGrammarNameTheirTool) {
  const auto refused = [](const std::string& schema, bool strict, ToolRequest::Choice choice) -> std::string {
    ToolRequest request = request_of(choice);
    request.tools[1] = {"lamp", schema, strict};
    try {
      tool_grammar(request, ToolStyle::kHermes);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status(), 400);
      return Json::parse(error.body())["error"]["param"].get<std::string>();
    }
    return "accepted";
  };
  using Choice = ToolRequest::Choice;
  const std::string field = "tools[1].function.parameters";
  const std::string bounded = R"({"type":"object","properties":{"n":{"type":"integer","minimum":3}}})";
  EXPECT_EQ(refused(bounded, false, Choice::kRequired), field);
  EXPECT_EQ(refused(bounded, true, Choice::kAuto), field);
  EXPECT_EQ(refused(bounded, false, Choice::kAuto), "accepted") << "nothing is promised of it";
  EXPECT_EQ(refused(R"({"type":"array"})", true, Choice::kAuto), field);
  EXPECT_EQ(refused(R"({"properties":{"n":{"type":"integer"}}})", true, Choice::kAuto), "accepted");
  EXPECT_EQ(
      refused(R"({"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"null"}}})",
              true, Choice::kAuto),
      "accepted");
}

}  // namespace
}  // namespace llm_tp

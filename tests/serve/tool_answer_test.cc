#include <gtest/gtest.h>

#include "serve/answer.h"
#include "serve/api_error.h"
#include "tool_model.h"

namespace llm_tp {
namespace {

const std::string kTool =
    R"({"type":"function","function":{"name":"tide","parameters":{"type":"object","properties":{"day":{"enum":[1,2]}},"required":["day"]}}})";
const std::string kMessages = R"("messages":[{"role":"user","content":"Hi"}])";
// The text that templates speak of styles in; a comment renders to nothing.
const std::string kMistral =
    "{{ bos_token }}{# [TOOL_CALLS] #}{{ (tools or []) | length }}{{ messages[-1].content }}";
const std::string kHermes =
    "{{ bos_token }}{# <tool_call> #}{{ (tools or []) | length }}{{ messages[-1].content }}";

/// What a model says, token by token, to a request with tools.
class ToolAnswer : public ::testing::Test {
 protected:
  void open(const std::string& chat_template, const std::string& control = "<|im_start|>",
            ToolFormat format = ToolFormat::kAuto) {
    files_ = ModelFiles::open(harbour_with(folder_, chat_template, control), true);
    model_.emplace(files_, 128, format);
  }
  Call call(const std::string& fields) const {
    return model_->prepare(
        parse_api_request(Endpoint::kChatCompletions, "{" + kMessages + "," + fields + "}"), 1);
  }
  std::vector<AnswerPiece> say(Answer& answer, const std::string& text,
                               FinishReason end = FinishReason::kStop) const {
    std::vector<AnswerPiece> pieces;
    std::vector<TokenId> ids = files_.tokenizer->encode(text, false);
    if (end == FinishReason::kStop) ids.push_back(files_.end_ids[0]);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Progress progress;
      progress.new_token = true;
      progress.row.token = ids[i];
      if (i + 1 == ids.size()) progress.finished = end;
      pieces.push_back(answer.push(0, progress));
    }
    return pieces;
  }
  std::string refused(const std::string& fields) const {
    try {
      call(fields);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status(), 400);
      return Json::parse(error.body())["error"]["param"].get<std::string>();
    }
    return "accepted";
  }

  TemporaryFolder folder_;
  ModelFiles files_;
  std::optional<ServedModel> model_;
};

TEST_F(ToolAnswer, CallsBecomePartOfTheMessage) {
  open(kHermes);
  const Call one = call("\"tools\":[" + kTool + "]");
  EXPECT_EQ(one.prompts[0].text, "<s>1Hi");
  Answer answer(one, *model_);
  say(answer, "<tool_call>\n{\"name\": \"tide\", \"arguments\": {\"day\": 1}}\n</tool_call>");
  const Json choice = Json::parse(answer.body())["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const Json& message = choice["message"];
  EXPECT_TRUE(message["content"].is_null());
  ASSERT_EQ(message["tool_calls"].size(), 1u);
  const Json& made = message["tool_calls"][0];
  EXPECT_EQ(made["type"], "function");
  EXPECT_TRUE(made["id"].get<std::string>().starts_with("call_"));
  EXPECT_EQ(made["function"]["name"], "tide");
  EXPECT_EQ(made["function"]["arguments"], "{\"day\": 1}");
  EXPECT_FALSE(made.contains("index"));
}

TEST_F(ToolAnswer, WithoutACallItIsAPlainAnswer) {
  open(kHermes);
  const Call one = call("\"tools\":[" + kTool + "]");
  Answer answer(one, *model_);
  say(answer, "<tool_call> is what I write. ");
  const Json choice = Json::parse(answer.body())["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["message"]["content"], "<tool_call> is what I write. ");
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
  // Nobody reads calls where there are no tools to call.
  const Call none = call("\"tool_choice\":\"none\",\"tools\":[" + kTool + "]");
  EXPECT_EQ(none.prompts[0].text, "<s>0Hi");
  Answer plain(none, *model_);
  const std::string text = "<tool_call>{\"name\": \"tide\", \"arguments\": {}}</tool_call>";
  say(plain, text);
  EXPECT_EQ(Json::parse(plain.body())["choices"][0]["message"]["content"], text);
}

TEST_F(ToolAnswer, ControlTokensThatMarkCallsAreSeenAndNotShown) {
  open(kMistral, "[TOOL_CALLS]");
  const TokenId marker = files_.tokenizer->id_of("[TOOL_CALLS]").value();
  ASSERT_EQ(files_.tokenizer->piece(marker), "") << "it is a control token";
  const Call one = call("\"tools\":[" + kTool + "]");
  Answer answer(one, *model_);
  say(answer, "A moment. [TOOL_CALLS][{\"name\": \"tide\", \"arguments\": {\"day\": 2}}]");
  EXPECT_EQ(
      answer.usage().completion_tokens,
      static_cast<std::int64_t>(
          files_.tokenizer
              ->encode("A moment. [TOOL_CALLS][{\"name\": \"tide\", \"arguments\": {\"day\": 2}}]", false)
              .size()) +
          1);
  const Json message = Json::parse(answer.body())["choices"][0]["message"];
  EXPECT_EQ(message["content"], "A moment.");
  ASSERT_EQ(message["tool_calls"].size(), 1u);
  EXPECT_EQ(message["tool_calls"][0]["id"].get<std::string>().size(), 9u)
      << "what Mistral's templates take back";
  // A grammar may write it, too: then the model's own token is what it takes.
  const Call forced = call("\"tool_choice\":\"required\",\"tools\":[" + kTool + "]");
  Guide& guide = *forced.requests[0].guide;
  EXPECT_NE(guide.after(guide.start(), marker), Guide::kDead);
  // Without tools it has no text.
  const Call plain = call("\"n\":1");
  Answer text(plain, *model_);
  say(text, "A moment. [TOOL_CALLS]");
  EXPECT_EQ(Json::parse(text.body())["choices"][0]["message"]["content"], "A moment. ");
}

TEST_F(ToolAnswer, AStreamAddsUpToTheMessage) {
  open(kHermes);
  const Call one = call("\"stream\":true,\"tools\":[" + kTool + "]");
  Answer answer(one, *model_);
  StreamRenderer stream(one, *model_);
  const std::string call_text =
      "<tool_call>\n{\"name\": \"tide\", \"arguments\": {\"day\": 1}}\n</tool_call>";
  std::string content, finish;
  std::vector<Json> calls;
  int argument_pieces = 0;
  for (const AnswerPiece& piece : say(answer, "I look. " + call_text + "\n" + call_text)) {
    const auto chunk = stream.chunk(piece);
    if (!chunk) continue;
    const Json choice = Json::parse(*chunk)["choices"][0];
    const Json& delta = choice["delta"];
    if (delta.contains("content")) {
      EXPECT_TRUE(calls.empty());
      content += delta["content"].get<std::string>();
    }
    if (delta.contains("tool_calls"))
      for (const Json& more : delta["tool_calls"]) {
        const auto index = more["index"].get<std::size_t>();
        if (index == calls.size()) {
          EXPECT_EQ(more["type"], "function");
          calls.push_back(more);
        } else {
          ASSERT_LT(index, calls.size());
          EXPECT_FALSE(more.contains("id") || more.contains("type") || more["function"].contains("name"));
          Json& arguments = calls[index]["function"]["arguments"];
          arguments = arguments.get<std::string>() + more["function"]["arguments"].get<std::string>();
          ++argument_pieces;
        }
      }
    if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
  }
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_GT(argument_pieces, 2) << "they come while the model writes them";
  const Json message = Json::parse(answer.body())["choices"][0]["message"];
  ASSERT_EQ(calls.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    calls[i].erase("index");
    EXPECT_EQ(calls[i], message["tool_calls"][i]);
  }
  EXPECT_NE(calls[0]["id"], calls[1]["id"]);
}

TEST_F(ToolAnswer, ACallThatMaxTokensCutsOffSaysSo) {
  open(kHermes);
  const Call one = call("\"tools\":[" + kTool + "]");
  Answer answer(one, *model_);
  say(answer, "<tool_call>{\"name\": \"tide\", \"arguments\": {\"da", FinishReason::kLength);
  const Json choice = Json::parse(answer.body())["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"da");
}

TEST_F(ToolAnswer, AModelThatKnowsNoToolsRefusesThem) {
  const std::string tools = "\"tools\":[" + kTool + "]";
  open("{{ messages[-1].content }}");
  EXPECT_EQ(refused(tools), "tools");
  EXPECT_EQ(refused("\"tool_choice\":\"none\"," + tools), "accepted");
  model_.emplace(files_, 128, ToolFormat::kHermes);
  EXPECT_EQ(refused(tools), "accepted") << "the configuration knows better";
  TemporaryFolder other;
  files_ = ModelFiles::open(harbour_with(other, kHermes), true);
  model_.emplace(files_, 128, ToolFormat::kNone);
  EXPECT_EQ(refused(tools), "tools");
  model_.emplace(files_, 128);
  EXPECT_EQ(refused(tools), "accepted");
  EXPECT_EQ(
      refused(
          R"("tool_choice":"required","tools":[{"function":{"name":"a","parameters":{"type":"object","properties":{"b":{"type":"string","format":"date"}}}}}])"),
      "tools[0].function.parameters");
}

}  // namespace
}  // namespace llm_tp

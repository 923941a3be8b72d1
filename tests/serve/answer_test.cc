#include "serve/answer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "harbour.h"
#include "serve/api_error.h"
#include "serve/json_text.h"
#include "temporary_folder.h"
#include "tests/support/peft_folder.h"

namespace llm_tp {
namespace {

class AnswerTest : public ::testing::Test {
 protected:
  Call call(const std::string& body) const {
    return model_.prepare(parse_api_request(Endpoint::kCompletions, body), 1);
  }
  Call chat(const std::string& body) const {
    return model_.prepare(parse_api_request(Endpoint::kChatCompletions, body), 1);
  }
  /// Progress that says `text`, token by token, as one choice of a prompt.
  struct Choice {
    std::size_t request = 0;
    std::int32_t choice = 0;
  };
  std::vector<AnswerPiece> say(Answer& answer, Choice at, const std::string& text,
                               double logprob = -1) const {
    std::vector<AnswerPiece> pieces;
    const std::vector<TokenId> ids = files_.tokenizer->encode(text, false);
    bool finished = false;
    for (std::size_t i = 0; i < ids.size() && !finished; ++i) {
      Progress progress;
      progress.new_token = true;
      progress.row.token = ids[i];
      progress.row.logprob = logprob;
      progress.row.best = {{ids[i], static_cast<float>(logprob)}};
      if (i + 1 == ids.size()) progress.finished = FinishReason::kLength;
      progress.choice = at.choice;
      pieces.push_back(answer.push(at.request, progress));
      finished = answer.finished(pieces.back().choice);
    }
    return pieces;
  }
  ModelFiles files_ = ModelFiles::open(harbour(), true);
  ServedModel model_{files_, 128};
};

TEST_F(AnswerTest, ChoicesOfSeveralPromptsComeInOrder) {
  const Call two = call(R"({"prompt":["The gull","A boat"],"n":2})");
  ASSERT_EQ(two.requests.size(), 2u);
  for (const Request& request : two.requests)
    EXPECT_EQ(request.choices, 2) << "they share their prompt's pages";
  EXPECT_EQ(two.requests[1].stream, 0) << "a prompt draws the same whatever stands beside it";
  EXPECT_EQ(two.requests[1].prompt, files_.tokenizer->encode("A boat", true));
  Answer answer(two, model_);
  for (std::size_t i = 0; i < 4; ++i)
    say(answer, {i / 2, static_cast<std::int32_t>(i % 2)}, " number " + std::to_string(i));
  const Json body = Json::parse(answer.body());
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], " number " + std::to_string(i));
  }
  EXPECT_EQ(body["usage"]["total_tokens"].get<int>(),
            body["usage"]["prompt_tokens"].get<int>() + body["usage"]["completion_tokens"].get<int>());
}

TEST_F(AnswerTest, AnAdapterIsAModelOfItsOwnName) {
  const TemporaryFolder folder;
  PeftFolder(files_.shape, {"q_proj"}, 4, 1).write(folder / "poet");
  files_.open_adapters({{"poet", folder / "poet"}}, "");
  EXPECT_EQ(model_.names(), (std::vector<std::string>{"hf", "poet"}));
  const Call adapted = call(R"({"prompt":"The gull","model":"poet","max_tokens":1})");
  EXPECT_EQ(adapted.requests[0].adapter, 0);
  Answer answer(adapted, model_);
  say(answer, {}, " a");
  EXPECT_EQ(Json::parse(answer.body())["model"], "poet");
  for (const char* body : {R"({"prompt":"The gull","model":"hf"})", R"({"prompt":"The gull"})"})
    EXPECT_EQ(call(body).requests[0].adapter, kNoAdapter);
  try {
    call(R"({"prompt":"The gull","model":"bard"})");
    ADD_FAILURE() << "no error";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 404);
    EXPECT_NE(std::string(error.what()).find("\"hf\", \"poet\""), std::string::npos) << error.what();
  }
}

TEST_F(AnswerTest, TheBestOfSeveralIsAnswered) {
  const Call one = call(R"({"prompt":"The gull","best_of":3,"n":1})");
  ASSERT_EQ(one.requests.size(), 1u);
  EXPECT_EQ(one.requests[0].choices, 3);
  Answer answer(one, model_);
  say(answer, {0, 0}, " low", -3);
  say(answer, {0, 1}, " high", -0.5);
  say(answer, {0, 2}, " middle", -1);
  const Json body = Json::parse(answer.body());
  ASSERT_EQ(body["choices"].size(), 1u);
  EXPECT_EQ(body["choices"][0]["text"], " high");
}

TEST_F(AnswerTest, AStreamAddsUpToTheWholeAnswer) {
  const Call one = chat(R"({"messages":[{"role":"user","content":"Hi"}],"stop":["never"],"stream":true})");
  Answer answer(one, model_);
  StreamRenderer stream(one, model_);
  const auto opening = stream.opening();
  ASSERT_EQ(opening.size(), 1u);
  EXPECT_EQ(Json::parse(opening[0])["choices"][0]["delta"]["role"], "assistant");
  std::string text, finish;
  for (const AnswerPiece& piece : say(answer, {}, "The boat will never sail")) {
    const auto chunk = stream.chunk(piece);
    if (!chunk) continue;
    const Json choice = Json::parse(*chunk)["choices"][0];
    if (choice["delta"].contains("content")) text += choice["delta"]["content"].get<std::string>();
    if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
  }
  EXPECT_EQ(text, "The boat will ");
  EXPECT_EQ(finish, "stop");
  EXPECT_EQ(Json::parse(answer.body())["choices"][0]["message"]["content"], text);
}

TEST_F(AnswerTest, EchoedPromptsHaveTheirLogprobs) {
  const Call one = call(R"({"prompt":"The gull flew","echo":true,"logprobs":1,"max_tokens":0})");
  ASSERT_TRUE(one.requests[0].score_prompt);
  Answer answer(one, model_);
  const auto& prompt = one.prompts[0].tokens;
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    Progress progress;
    progress.position = static_cast<std::int32_t>(i);
    if (i + 1 < prompt.size()) progress.row.target_logprob = -static_cast<double>(i + 1);
    if (i + 1 == prompt.size()) progress.finished = FinishReason::kLength;
    answer.push(0, progress);
  }
  const Json choice = Json::parse(answer.body())["choices"][0];
  EXPECT_EQ(choice["text"], "The gull flew");
  const Json& logprobs = choice["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), prompt.size());
  ASSERT_EQ(logprobs["text_offset"].size(), prompt.size());
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["token_logprobs"][1], -1.0);
}

TEST_F(AnswerTest, ChatLogprobsHaveBytes) {
  const Call one = chat(R"({"messages":[{"role":"user","content":"Hi"}],"logprobs":true,"top_logprobs":1})");
  Answer answer(one, model_);
  say(answer, {}, "é");
  const Json content = Json::parse(answer.body())["choices"][0]["logprobs"]["content"];
  std::string bytes;
  for (const Json& token : content) {
    for (const Json& byte : token["bytes"]) bytes += static_cast<char>(byte.get<int>());
    EXPECT_EQ(token["top_logprobs"].size(), 1u);
  }
  EXPECT_EQ(bytes, "é");
}

TEST_F(AnswerTest, WhatTheModelCannotTakeIsRefused) {
  const auto status = [&](const std::string& body) {
    try {
      call(body);
    } catch (const ApiError& error) {
      return error.status();
    }
    return 200;
  };
  EXPECT_EQ(status(R"({"prompt":"a","model":"nobody"})"), 404);
  EXPECT_EQ(status(R"({"prompt":[1,1000000000]})"), 400);
  EXPECT_EQ(status(R"({"prompt":"a","stop_token_ids":[1000000000]})"), 400);
  std::string ids = "5";
  for (int i = 1; i < 129; ++i) ids += ",5";
  EXPECT_EQ(status("{\"prompt\":[" + ids + "],\"max_tokens\":0}"), 400);
  EXPECT_EQ(status("{\"prompt\":[" + ids.substr(2) + "],\"max_tokens\":0}"), 200);
  EXPECT_EQ(status("{\"prompt\":[" + ids.substr(2) + "],\"max_tokens\":1}"), 400);
}

TEST_F(AnswerTest, APriorityIsThatOfEachPrompt) {
  const Call two = call(R"({"prompt":["a","b"],"priority":-2})");
  for (const Request& request : two.requests) EXPECT_EQ(request.priority, -2);
}

TEST_F(AnswerTest, LongestCompletionEndsWithTheContext) {
  EXPECT_EQ(call(R"({"prompt":[1,5,9],"max_tokens":100000})").requests[0].max_tokens, 125);
  EXPECT_EQ(call(R"({"prompt":[1,5,9]})").requests[0].max_tokens, 16);
  EXPECT_LE(chat(R"({"messages":[{"role":"user","content":"Hi"}]})").requests[0].max_tokens, 128);
}

}  // namespace
}  // namespace llm_tp

#include "serve/openai_request.h"

#include <gtest/gtest.h>

#include "serve/api_error.h"
#include "serve/json_text.h"

namespace llm_tp {
namespace {

ApiRequest completion(const std::string& body) { return parse_api_request(Endpoint::kCompletions, body); }
ApiRequest chat(const std::string& body) { return parse_api_request(Endpoint::kChatCompletions, body); }

/// The field that the refusal names, and the status.
std::string refused(Endpoint endpoint, const std::string& body) {
  try {
    parse_api_request(endpoint, body);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    const Json parsed = Json::parse(error.body());
    EXPECT_FALSE(parsed["error"]["message"].get<std::string>().empty());
    return parsed["error"]["param"].is_null() ? "-" : parsed["error"]["param"].get<std::string>();
  }
  return "accepted";
}
std::string refused(const std::string& body) { return refused(Endpoint::kCompletions, body); }

/// "[1,1,…]"
std::string list_of_ids(int count) {
  std::string text = "[1";
  for (int i = 1; i < count; ++i) text += ",1";
  return text + "]";
}

TEST(OpenAiRequest, EveryShapeOfPromptIsRead) {
  EXPECT_EQ(std::get<std::string>(completion(R"({"prompt":"a"})").prompts.at(0)), "a");
  EXPECT_EQ(std::get<std::vector<TokenId>>(completion(R"({"prompt":[1,2]})").prompts.at(0)),
            (std::vector<TokenId>{1, 2}));
  const ApiRequest many = completion(R"({"prompt":["a",[3],"b"]})");
  ASSERT_EQ(many.prompts.size(), 3u);
  EXPECT_EQ(std::get<std::vector<TokenId>>(many.prompts[1]), (std::vector<TokenId>{3}));
  for (const char* body : {"{}", R"({"prompt":null})", R"({"prompt":[]})", R"({"prompt":{"a":1}})",
                           R"({"prompt":3})", R"({"prompt":[1,"a"]})", R"({"prompt":["a",3]})",
                           R"({"prompt":[1.5]})", R"({"prompt":[-1]})", R"({"prompt":[99999999999]})"})
    EXPECT_EQ(refused(body), "prompt") << body;
}

TEST(OpenAiRequest, FieldsOutOfRangeAreRefusedByName) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, std::string>>{{"temperature", "-1"},
                                                        {"temperature", "\"hot\""},
                                                        {"top_p", "2"},
                                                        {"top_k", "-2"},
                                                        {"max_tokens", "-4"},
                                                        {"max_tokens", "1.5"},
                                                        {"n", "0"},
                                                        {"n", "10000000"},
                                                        {"n", "18446744073709551615"},
                                                        {"stop", "[\"\"]"},
                                                        {"stop", "[3]"},
                                                        {"seed", "1.5"},
                                                        {"logprobs", "true"},
                                                        {"echo", "1"},
                                                        {"stream", "\"yes\""},
                                                        {"best_of", "0"},
                                                        {"model", "3"},
                                                        {"stop_token_ids", "[-1]"},
                                                        {"stop_token_ids", list_of_ids(65)},
                                                        {"min_tokens", "99"},
                                                        {"priority", "1001"},
                                                        {"priority", "0.5"},
                                                        {"num_beams", "129"},
                                                        {"penalty_alpha", "1.5"},
                                                        {"length_penalty", "2"},
                                                        {"early_stopping", "true"},
                                                        {"nonsense", "1"},
                                                        {"suffix", "\"x\""},
                                                        {"stream_options", "{\"include_usage\":true}"}})
    EXPECT_EQ(refused("{\"prompt\":\"a\",\"" + field + "\":" + value + "}"), field) << value;
}

TEST(OpenAiRequest, SearchesTakeTheirSettingsAndRefuseWhatDoesNotGoWithThem) {
  const auto read = [](const std::string& more) {
    return parse_api_request(Endpoint::kCompletions, R"({"prompt":"a",)" + more + "}");
  };
  const ApiRequest beams = read(R"("num_beams":4,"n":2,"length_penalty":0.5,"early_stopping":"never")");
  ASSERT_TRUE(beams.beams);
  EXPECT_EQ(beams.beams->beams, 4);
  EXPECT_EQ(beams.beams->returned, 2);
  EXPECT_EQ(beams.beams->length_penalty, 0.5);
  EXPECT_EQ(beams.beams->early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(read(R"("num_beams":4,"early_stopping":true)").beams->early_stopping, EarlyStopping::kTrue);
  EXPECT_FALSE(read(R"("num_beams":1)").beams);
  EXPECT_EQ(read(R"("penalty_alpha":0.6,"top_k":4)").penalty_alpha, 0.6);
  for (const auto& [more, field] : std::vector<std::pair<std::string, std::string>>{
           {R"("num_beams":4,"temperature":1)", "temperature"},
           {R"("num_beams":4,"n":5)", "n"},
           {R"("num_beams":4,"best_of":2)", "best_of"},
           {R"("num_beams":4,"stop":"x")", "stop"},
           {R"("num_beams":4,"max_tokens":0)", "max_tokens"},
           {R"("num_beams":4,"echo":true,"logprobs":1)", "echo"},
           {R"("num_beams":4,"penalty_alpha":0.6,"top_k":4)", "penalty_alpha"},
           {R"("num_beams":4,"early_stopping":"maybe")", "early_stopping"},
           {R"("penalty_alpha":0.6)", "top_k"},
           {R"("penalty_alpha":0.6,"top_k":1)", "top_k"},
           {R"("penalty_alpha":0.6,"top_k":4,"n":2)", "n"},
           {R"("penalty_alpha":0.6,"top_k":4,"temperature":0.5)", "temperature"}})
    EXPECT_EQ(refused(R"({"prompt":"a",)" + more + "}"), field) << more;
  EXPECT_EQ(refused(R"({"prompt":["a","b"],"num_beams":100})"), "num_beams");
}

TEST(OpenAiRequest, NullIsAFieldThatIsNotThere) {
  const ApiRequest request = completion(
      R"({"prompt":"a","temperature":null,"stop":null,"n":null,"logprobs":null,"suffix":null,"user":null})");
  EXPECT_FALSE(request.temperature.has_value());
  EXPECT_EQ(request.n, 1);
  EXPECT_EQ(request.max_tokens, 16);
}

TEST(OpenAiRequest, EveryEndpointTakesAPriority) {
  EXPECT_EQ(completion(R"({"prompt":"a"})").priority, 0);
  EXPECT_EQ(completion(R"({"prompt":"a","priority":-3})").priority, -3);
  EXPECT_EQ(chat(R"({"messages":[{"role":"user","content":"a"}],"priority":7})").priority, 7);
  EXPECT_EQ(parse_api_request(Endpoint::kEmbeddings, R"({"input":"a","priority":1})").priority, 1);
}

TEST(OpenAiRequest, PromptsTimesChoicesAreBounded) {
  std::string prompts = "[\"a\"";
  for (int i = 1; i < 65; ++i) prompts += ",\"a\"";
  EXPECT_EQ(refused("{\"prompt\":" + prompts + "],\"n\":2}"), "n");
  EXPECT_EQ(completion("{\"prompt\":" + prompts + "],\"n\":1}").prompts.size(), 65u);
}

TEST(OpenAiRequest, BodiesThatAreNoObjectAreRefused) {
  for (const std::string& body : {std::string("{]"), std::string("[]"), std::string("3"), std::string(),
                                  std::string("{\"prompt\":\"\xff\xfe\"}"), std::string(2000000, '[')})
    EXPECT_EQ(refused(body), "-");
}

TEST(OpenAiRequest, ObjectsOfManyKeysAreRefusedBeforeTheyCost) {
  std::string body = "{";
  for (int i = 0; i < 200000; ++i) body += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_EQ(refused(body + "\"prompt\":\"a\"}"), "-");
}

TEST(OpenAiRequest, MessagesKeepTheirOrderAndTheirTextParts) {
  const ApiRequest request = chat(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
          "max_completion_tokens":5,"max_tokens":9,"logprobs":true,"top_logprobs":2})");
  EXPECT_EQ(request.messages, R"([{"role":"user","content":"ab"}])");
  EXPECT_EQ(request.max_tokens, 5);
  EXPECT_EQ(request.logprobs, 2);
  for (const auto& [body, field] : std::vector<std::pair<std::string, std::string>>{
           {R"({"messages":[]})", "messages"},
           {R"({"messages":[{"content":"a"}]})", "messages[0].role"},
           {R"({"messages":[{"role":"user"}]})", "messages[0].content"},
           {R"({"messages":[3]})", "messages[0]"},
           {R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})", "messages[0].content.type"},
           {R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":2})", "top_logprobs"},
           {R"({"messages":[{"role":"user","content":"a"}],"prompt":"a"})", "prompt"}})
    EXPECT_EQ(refused(Endpoint::kChatCompletions, body), field) << body;
}

TEST(OpenAiRequest, ErrorsHaveTheShapeOfOpenAi) {
  const Json body = Json::parse(ApiError(404, "no such \xff model", "model", "model_not_found").body());
  EXPECT_EQ(body["error"]["type"], "not_found_error");
  EXPECT_EQ(body["error"]["code"], "model_not_found");
  EXPECT_EQ(body["error"]["param"], "model");
}

TEST(OpenAiRequest, EmbeddingsTakeInputsFormatAndPooling) {
  const auto read = [](const std::string& body) { return parse_api_request(Endpoint::kEmbeddings, body); };
  const ApiRequest plain = read(R"({"input":["a",[3,4]],"model":"m","user":"u"})");
  ASSERT_EQ(plain.prompts.size(), 2u);
  EXPECT_EQ(std::get<std::vector<TokenId>>(plain.prompts[1]), (std::vector<TokenId>{3, 4}));
  EXPECT_FALSE(plain.base64);
  EXPECT_EQ(plain.embedding.pooling, Pooling::kMean);
  EXPECT_TRUE(plain.embedding.normalised);
  const ApiRequest chosen =
      read(R"({"input":"a","encoding_format":"base64","pooling":"last","normalize":false,"dimensions":64})");
  EXPECT_TRUE(chosen.base64);
  EXPECT_EQ(chosen.embedding.pooling, Pooling::kLast);
  EXPECT_FALSE(chosen.embedding.normalised);
  EXPECT_EQ(chosen.dimensions, 64);
  Json many{{"input", Json::array()}};
  for (int i = 0; i < 2049; ++i) many["input"].push_back("a");
  for (const auto& [body, field] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "input"},
           {R"({"input":[]})", "input"},
           {to_text(many), "input"},
           {R"({"input":"a","encoding_format":"int8"})", "encoding_format"},
           {R"({"input":"a","pooling":"cls"})", "pooling"},
           {R"({"input":"a","normalize":1})", "normalize"},
           {R"({"input":"a","dimensions":0})", "dimensions"},
           {R"({"input":"a","temperature":1})", "temperature"}})
    EXPECT_EQ(refused(Endpoint::kEmbeddings, body), field) << body.substr(0, 80);
}

}  // namespace
}  // namespace llm_tp

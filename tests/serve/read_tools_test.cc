#include "serve/tools/read_tools.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "serve/api_error.h"
#include "serve/openai_request.h"
#include "serve/tools/tool_style.h"
#include "text/chat_template.h"

namespace llm_tp {
namespace {

const std::string kTide =
    R"({"type":"function","function":{"name":"tide","description":"High tide","parameters":{"type":"object","properties":{"port":{"type":"string"}}},"strict":true}})";

std::string body_with(const std::string& fields,
                      const std::string& messages = R"([{"role":"user","content":"q"}])") {
  return "{\"messages\":" + messages + "," + fields + "}";
}
ApiRequest chat(const std::string& fields) {
  return parse_api_request(Endpoint::kChatCompletions, body_with(fields));
}
std::string refused(const std::string& body) {
  try {
    parse_api_request(Endpoint::kChatCompletions, body);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    return Json::parse(error.body())["error"]["param"].get<std::string>();
  }
  return "accepted";
}

TEST(ReadTools, ToolsAndTheirChoiceAreRead) {
  const ApiRequest plain = chat("\"tools\":[" + kTide + "]");
  ASSERT_EQ(plain.tools.tools.size(), 1u);
  EXPECT_EQ(plain.tools.tools[0].name, "tide");
  EXPECT_TRUE(plain.tools.tools[0].strict);
  EXPECT_EQ(plain.tools.choice, ToolRequest::Choice::kAuto);
  EXPECT_TRUE(plain.tools.parallel);
  // The template gets them as they came, in their order, without what speaks to the server.
  const Json shown = Json::parse(plain.template_variables)["tools"];
  EXPECT_EQ(
      shown.dump(),
      R"([{"type":"function","function":{"name":"tide","description":"High tide","parameters":{"type":"object","properties":{"port":{"type":"string"}}}}}])");
  const ApiRequest none = chat("\"tool_choice\":\"none\",\"tools\":[" + kTide + "]");
  EXPECT_FALSE(none.tools.in_use());
  EXPECT_EQ(none.template_variables, "");
  EXPECT_FALSE(chat(R"("tools":[],"tool_choice":"none","parallel_tool_calls":true)").tools.in_use());
  const ApiRequest named = chat(
      R"("tool_choice":{"type":"function","function":{"name":"lamp"}},"parallel_tool_calls":false,"tools":[)" +
      kTide + R"(,{"type":"function","function":{"name":"lamp"}}])");
  EXPECT_EQ(named.tools.choice, ToolRequest::Choice::kRequired);
  EXPECT_EQ(named.tools.only, 1u);
  EXPECT_FALSE(named.tools.parallel);
  EXPECT_EQ(chat("\"tool_choice\":\"required\",\"tools\":[" + kTide + "]").tools.only, std::nullopt);
}

TEST(ReadTools, WrongFieldsAreRefusedByName) {
  const auto tools = [](const std::string& list) { return refused(body_with("\"tools\":" + list)); };
  EXPECT_EQ(tools("{}"), "tools");
  EXPECT_EQ(tools("\"tide\""), "tools");
  EXPECT_EQ(tools("[3]"), "tools[0]");
  EXPECT_EQ(tools("[{}]"), "tools[0].function");
  EXPECT_EQ(tools(R"([{"type":"web_search"}])"), "tools[0].type");
  EXPECT_EQ(tools(R"([{"function":{}}])"), "tools[0].function.name");
  EXPECT_EQ(tools(R"([{"function":{"name":"a b"}}])"), "tools[0].function.name");
  EXPECT_EQ(tools("[{\"function\":{\"name\":\"" + std::string(65, 'a') + "\"}}]"), "tools[0].function.name");
  EXPECT_EQ(tools("[{\"function\":{\"name\":\"" + std::string(64, 'a') + "\"}}]"), "accepted");
  EXPECT_EQ(tools("[" + kTide + "," + kTide + "]"), "tools[1].function.name");
  EXPECT_EQ(tools(R"([{"function":{"name":"a","parameters":[]}}])"), "tools[0].function.parameters");
  EXPECT_EQ(tools(R"([{"function":{"name":"a","strict":1}}])"), "tools[0].function.strict");
  EXPECT_EQ(tools(R"([{"function":{"name":"a","description":1}}])"), "tools[0].function.description");
  std::string many;
  for (int i = 0; i < 129; ++i) {
    if (i == 128) {
      EXPECT_EQ(tools("[" + many + "]"), "accepted");
    }
    many += std::string(i > 0 ? "," : "") + R"({"function":{"name":"t)" + std::to_string(i) + "\"}}";
  }
  EXPECT_EQ(tools("[" + many + "]"), "tools");

  const auto choice = [](const std::string& value) {
    return refused(body_with("\"tools\":[" + kTide + "],\"tool_choice\":" + value));
  };
  EXPECT_EQ(choice("\"perhaps\""), "tool_choice");
  EXPECT_EQ(choice("3"), "tool_choice");
  EXPECT_EQ(choice("{}"), "tool_choice.type");
  EXPECT_EQ(choice(R"({"type":"function"})"), "tool_choice.function");
  EXPECT_EQ(choice(R"({"type":"function","function":{}})"), "tool_choice.function.name");
  EXPECT_EQ(choice(R"({"type":"function","function":{"name":"lamp"}})"), "tool_choice.function.name");
  EXPECT_EQ(refused(body_with(R"("tool_choice":"auto")")), "tool_choice");
  EXPECT_EQ(refused(body_with(R"("parallel_tool_calls":"yes")")), "parallel_tool_calls");
  EXPECT_EQ(refused(body_with("\"response_format\":{\"type\":\"json_object\"},\"tools\":[" + kTide + "]")),
            "tools");
  EXPECT_EQ(refused(body_with("\"chat_template_kwargs\":{\"tools\":1},\"tools\":[" + kTide + "]")),
            "chat_template_kwargs");
}

TEST(ReadTools, ArgumentsOfCallsAreObjectsForTheTemplate) {
  const auto messages = [](const std::string& call) {
    return "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":" +
           call +
           "},{\"role\":\"tool\",\"tool_call_id\":\"call00001\",\"content\":[{\"type\":\"text\",\"text\":"
           "\"17:04\"}]}]";
  };
  const auto arguments = [&](const std::string& text) {
    const ApiRequest request = parse_api_request(
        Endpoint::kChatCompletions,
        body_with("\"n\":1",
                  messages(R"([{"id":"call00001","type":"function","function":{"name":"tide","arguments":)" +
                           text + "}}]")));
    const Json list = Json::parse(request.messages);
    EXPECT_EQ(list[2]["content"], "17:04");
    return list[1]["tool_calls"][0]["function"]["arguments"].dump();
  };
  EXPECT_EQ(arguments(R"("{\"port\": \"Hook\", \"day\": 2}")"), R"({"port":"Hook","day":2})");
  EXPECT_EQ(arguments(R"({"z":1,"a":[2.5]})"), R"({"z":1,"a":[2.5]})");
  EXPECT_EQ(arguments(R"("")"), "{}");
  EXPECT_EQ(arguments("null"), "{}");
  const auto call = [&](const std::string& list) { return refused(body_with("\"n\":1", messages(list))); };
  const std::string place = "messages[1].tool_calls";
  EXPECT_EQ(call("3"), place);
  EXPECT_EQ(call("[3]"), place + "[0]");
  EXPECT_EQ(call("[{}]"), place + "[0].function");
  EXPECT_EQ(call(R"([{"function":{}}])"), place + "[0].function.name");
  EXPECT_EQ(call(R"([{"type":"custom","function":{"name":"a"}}])"), place + "[0].type");
  EXPECT_EQ(call(R"([{"function":{"name":"a","arguments":3}}])"), place + "[0].function.arguments");
  EXPECT_EQ(call(R"([{"function":{"name":"a","arguments":"{\"a\": 1"}}])"), place + "[0].function.arguments");
  EXPECT_EQ(call(R"([{"function":{"name":"a","arguments":"[]"}}])"), place + "[0].function.arguments");
  // None, as clients write it, is no list of none to a template.
  const ApiRequest request = parse_api_request(
      Endpoint::kChatCompletions,
      body_with(
          "\"n\":1",
          R"([{"role":"assistant","content":"a","tool_calls":null},{"role":"assistant","content":"b","tool_calls":[]}])"));
  for (const Json& message : Json::parse(request.messages)) EXPECT_FALSE(message.contains("tool_calls"));
  EXPECT_EQ(call("[]"), "messages[1].content");
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What a template makes of a conversation with a call in it, as OpenAI's clients send it.
std::string rendered(const std::string& source) {
  const ApiRequest request = parse_api_request(
      Endpoint::kChatCompletions,
      body_with(
          "\"tools\":[" + kTide + "]",
          R"([{"role":"user","content":"High tide?"},{"role":"assistant","content":null,"tool_calls":[{"id":"call00001","type":"function","function":{"name":"tide","arguments":"{\"port\": \"Hook\"}"}}]},{"role":"tool","tool_call_id":"call00001","content":"17:04"},{"role":"assistant","content":"At 17:04."},{"role":"user","content":"Thanks"}])"));
  return ChatTemplate(source).render(request.messages, {true, "<s>", "</s>"}, request.template_variables);
}

TEST(ReadTools, TemplatesShowToolsCallsAndTheirResults) {
  const std::string tools =
      R"({"type": "function", "function": {"name": "tide", "description": "High tide", "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}}})";
  const std::string folder = std::string(LLM_TP_SOURCE_DIR) + "/tests/text/templates/";
  EXPECT_EQ(
      rendered(read(folder + "hermes_tools.jinja")),
      "<s><|im_start|>system\nTools:\n" + tools +
          "\nCall as <tool_call>\n{\"name\": …, \"arguments\": {…}}\n</tool_call>.<|im_end|>\n"
          "<|im_start|>user\nHigh tide?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": \"tide\", "
          "\"arguments\": {\"port\": "
          "\"Hook\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>17:04"
          "</tool_response><|im_end|>\n<|im_start|>assistant\nAt "
          "17:04.<|im_end|>\n<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(rendered(read(folder + "mistral_tools.jinja")),
            "<s>[INST]High tide?[/INST][TOOL_CALLS][{\"name\": \"tide\", \"arguments\": {\"port\": "
            "\"Hook\"}, \"id\": "
            "\"call00001\"}]</s>[TOOL_RESULTS]{\"content\": 17:04, \"call_id\": "
            "\"call00001\"}[/TOOL_RESULTS]At 17:04.</s>"
            "[AVAILABLE_TOOLS][" +
                tools + "][/AVAILABLE_TOOLS][INST]Thanks[/INST]");
  EXPECT_EQ(
      rendered(read(folder + "mistral_named_tools.jinja")),
      "<s>[AVAILABLE_TOOLS][" + tools +
          "][/AVAILABLE_TOOLS][INST]High tide?[/INST][TOOL_CALLS]tide[CALL_ID]call00001[ARGS]{\"port\": "
          "\"Hook\"}</s>[TOOL_RESULTS]call00001[TOOL_CONTENT]17:04[/TOOL_RESULTS]At "
          "17:04.</s>[INST]Thanks[/INST]");
  EXPECT_NE(
      rendered(read(folder + "tools.jinja")).find(R"({"name": "tide", "parameters": {"port": "Hook"}})"),
      std::string::npos);
}

TEST(ReadTools, PublishedTemplatesShowTheirCalls) {
  const std::filesystem::path folder = std::string(LLM_TP_SOURCE_DIR) + "/../shared/chat_templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no published chat templates at " << folder;
  const auto shows = [&](const char* file, const std::string& call, ToolStyle style) {
    const std::string source = read(folder / file);
    const std::string text = rendered(source);
    EXPECT_NE(text.find(call), std::string::npos) << text;
    EXPECT_NE(text.find("17:04"), std::string::npos) << text;
    EXPECT_EQ(tool_style_of(ToolFormat::kAuto, source), style) << file;
  };
  shows("Qwen-Qwen2.5-7B-Instruct.jinja",
        "<tool_call>\n{\"name\": \"tide\", \"arguments\": {\"port\": \"Hook\"}}\n</tool_call>",
        ToolStyle::kHermes);
  for (const char* file :
       {"meta-llama-Llama-3.1-8B-Instruct.jinja", "meta-llama-Llama-3.3-70B-Instruct.jinja"})
    shows(file, R"({"name": "tide", "parameters": {"port": "Hook"}}<|eot_id|>)", ToolStyle::kLlama3);
  shows("mistralai-Mistral-Nemo-Instruct-2407.jinja",
        R"([TOOL_CALLS][{"name": "tide", "arguments": {"port": "Hook"}, "id": "call00001"}]</s>)",
        ToolStyle::kMistralList);
}

TEST(ReadTools, TheStyleIsTheTemplatesUnlessNamed) {
  const auto style = [](const std::string& source, ToolFormat format = ToolFormat::kAuto) {
    return tool_style_of(format, source);
  };
  const std::string folder = std::string(LLM_TP_SOURCE_DIR) + "/tests/text/templates/";
  EXPECT_EQ(style(read(folder + "hermes_tools.jinja")), ToolStyle::kHermes);
  EXPECT_EQ(style(read(folder + "mistral_tools.jinja")), ToolStyle::kMistralList);
  EXPECT_EQ(style(read(folder + "mistral_named_tools.jinja")), ToolStyle::kMistralNamed);
  EXPECT_EQ(style(read(folder + "tools.jinja")), ToolStyle::kLlama3);
  EXPECT_EQ(style(read(folder + "turns.jinja")), ToolStyle::kNone);
  EXPECT_EQ(style("{{ tools }}<tool_call><function=name>"), ToolStyle::kNone);
  EXPECT_EQ(style("{{ tools }} [ARGS]", ToolFormat::kMistral), ToolStyle::kMistralNamed);
  EXPECT_EQ(style("", ToolFormat::kMistral), ToolStyle::kMistralList);
  EXPECT_EQ(style("", ToolFormat::kHermes), ToolStyle::kHermes);
  EXPECT_EQ(style("", ToolFormat::kLlama3), ToolStyle::kLlama3);
  EXPECT_EQ(style("{{ tools }}<tool_call>", ToolFormat::kNone), ToolStyle::kNone);
}

}  // namespace
}  // namespace llm_tp

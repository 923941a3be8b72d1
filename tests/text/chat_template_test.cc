#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "text_support.h"

namespace llm_tp {
namespace {

using Json = nlohmann::ordered_json;
using test::expect_error;

const std::string kTests = std::string(LLM_TP_SOURCE_DIR) + "/tests/text/";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What tests/text/make/make_chat_cases.py wrote: everything rendered by Jinja2 itself.
const Json& cases() {
  static const Json document = Json::parse(read(kTests + "chat_cases.json"));
  return document;
}

std::string source_of(const std::string& name) {
  if (name != "harbour") return read(kTests + "templates/" + name);
  const std::string config =
      read(std::string(LLM_TP_SOURCE_DIR) + "/models/harbour/hf/tokenizer_config.json");
  return Json::parse(config)["chat_template"].get<std::string>();
}

ChatOptions options(bool add_generation_prompt) {
  ChatOptions options;
  options.add_generation_prompt = add_generation_prompt;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  return options;
}

/// Calls check(text, expected) for each [template, chat, variables, prompt, expected] of the list; where
/// expected is null, Jinja2 refused, and so must we.
template <typename Source, typename Check>
void each_rendered(const Json& list, Source source, Check check) {
  std::map<std::string, ChatTemplate> templates;
  for (const Json& entry : list) {
    SCOPED_TRACE(entry.dump());
    const auto name = entry[0].get<std::string>();
    const ChatTemplate& chat = templates.try_emplace(name, source(name)).first->second;
    const std::string messages = cases()["chats"][entry[1].get<std::string>()].dump();
    const std::string variables = cases()["variables"][entry[2].get<std::string>()].dump();
    const auto render = [&] { return chat.render(messages, options(entry[3].get<bool>()), variables); };
    if (entry[4].is_null()) {
      expect_error(ExitCode::kBadData, "chat template:", render);
    } else {
      std::string text;
      ASSERT_NO_THROW(text = render());
      check(text, entry[4]);
    }
  }
}

TEST(ChatTemplate, RendersEveryChatAsJinja2Does) {
  each_rendered(cases()["rendered"], source_of, [](const std::string& text, const Json& index) {
    EXPECT_EQ(text, cases()["texts"][index.get<std::size_t>()].get<std::string>());
  });
}

TEST(ChatTemplate, EvaluatesEveryExpressionAsJinja2Does) {
  const std::string variables = cases()["expression_variables"].dump();
  for (const Json& entry : cases()["expressions"]) {
    const auto expression = entry[0].get<std::string>();
    SCOPED_TRACE(expression);
    std::string text;
    ASSERT_NO_THROW(text = ChatTemplate("{{ " + expression + " }}").render("[]", options(false), variables));
    EXPECT_EQ(text, entry[1].get<std::string>());
  }
}

/// FNV-1a of 64 bits, in hexadecimal digits.
std::string hash(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value));
  return digits;
}

// The templates that models are published with are not part of this repository; the lengths and hashes of
// what Jinja2 renders from them are.
TEST(ChatTemplate, RendersPublishedTemplatesAsJinja2Does) {
  const std::string folder = std::string(LLM_TP_SOURCE_DIR) + "/../shared/chat_templates/";
  if (!std::filesystem::exists(folder))
    GTEST_SKIP() << folder << " is not there: the published templates stay outside of the repository";
  const Json hashes = Json::parse(read(kTests + "chat_template_hashes.json"));
  each_rendered(
      hashes["rendered"], [&](const std::string& name) { return read(folder + name); },
      [](const std::string& text, const Json& expected) {
        EXPECT_EQ(text.size(), expected[0].get<std::size_t>());
        EXPECT_EQ(hash(text), expected[1].get<std::string>());
      });
}

TEST(ChatTemplate, TakesMessagesAsStructures) {
  const ChatTemplate chat("{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{{ eos_token }}");
  EXPECT_EQ(chat.render({{"user", "a \"quoted\"\n\xC3\xA9"}, {"assistant", ""}}, options(false)),
            "user=a \"quoted\"\n\xC3\xA9;assistant=;</s>");
}

TEST(ChatTemplate, RefusesWhatIsOutsideTheSubsetWithLineAndColumn) {
  const std::pair<const char*, const char*> refused[] = {
      {"{% include 'other' %}", "1:4: the statement 'include' is not supported"},
      {"a\n  {% call f() %}{% endcall %}", "2:6: the statement 'call' is not supported"},
      {"{{ messages|wordwrap }}", "1:13: the filter 'wordwrap' is not supported"},
      {"{{ messages is filter }}", "1:16: the test 'filter' is not supported"},
      {"{{ f(*messages) }}", "1:6: unpacking of arguments is not supported"},
      {"{% for a in b recursive %}{% endfor %}", "1:15: recursive loops are not supported"},
      {"{% if x %}\n", "{% endif %}"},
      {"{% endif %}", "1:4: 'endif' without its beginning"},
      {"{% for x in y %}{% endif %}", "1:20: 'endif' without its beginning"},
      {"{% break %}", "1:4: 'break' outside of a loop"},
      {"{{ 1", "1:1: a tag that does not end"},
      {"{# never", "1:1: a comment that does not end"},
      {"{% raw %} x", "1:1: a raw block that does not end"},
      {"{% raw +%} {% endraw %}", "1:4: the statement 'raw' is not supported"},
      {"{{ 'x }}", "1:4: a string that does not end"},
      {"{{ \xC3\xA9 }}", "1:4: a character that starts nothing"},
      {"\xC3\xA9\xC3\xA9 {{ ? }}", "1:7: a character that starts nothing"},
      {"{{ (1 }}", "1:7: an unexpected '}'"},
      {"{{ 1 2 }}", "1:6: found '2', wanted '}}'"},
      {"{{ 99999999999999999999 }}", "1:4: an integer beyond 64 bits"},
      {"{% set true = 1 %}", "1:8: cannot assign to 'true'"},
      {"{{ '\\N{DASH}' }}", "1:4: a string with \\N"},
      {"{{ '\\ud800' }}", "1:4: a string with an escape that is no character"},
  };
  for (const auto& [source, message] : refused) {
    SCOPED_TRACE(source);
    expect_error(ExitCode::kBadData, message, [source = source] { ChatTemplate{source}; });
  }
  expect_error(ExitCode::kBadData, "byte 1 is not UTF-8", [] { ChatTemplate{"a\xFF"}; });
}

TEST(ChatTemplate, NamesThePlaceOfWhatFailsWhileRendering) {
  const std::pair<const char*, const char*> failing[] = {
      {"\n {{ raise_exception('Roles must alternate.') }}", "2:20: Roles must alternate."},
      {"{{ nothing.at_all }}", "1:11: 'nothing' is undefined"},
      {"{{ messages[0].content.role }}", "1:23: 'dict object' has no attribute 'content'"},
      {"{{ 'a' + 1 }}", "1:8: unsupported operand types for +: str and int"},
      {"{{ 'a' < 1 }}", "1:8: '<' between str and int"},
      {"{{ 1 / 0 }}", "1:6: division by zero"},
      {"{{ messages() }}", "1:12: 'list' object is not callable"},
      {"{{ messages.append(1) }}", "1:12: the method 'append' of list is not supported"},
      {"{{ '%s' % 1 }}", "1:9: formatting of strings with % is not supported"},
      {"{{ messages|map('upper') }}", "1:1: a generator cannot be printed"},
      {"{{ ['a'|safe] }}", "1:1: printing text marked safe inside another value is not supported"},
      {"{{ 1|indent }}", "1:6: what to indent is int, a string is wanted"},
      {"{{ 1[1:] }}", "1:5: 'int' object cannot be sliced"},
      {"{{ {}|tojson(color=1) }}", "1:7: tojson() has an argument that is not supported"},
      {"{% set a, b = [1] %}", "1 values to unpack, 2 names"},
      {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "macro 'f' takes not more than 1 argument(s)"},
      {"{% set messages.x = 1 %}", "cannot assign attribute on non-namespace object 'messages'"},
  };
  for (const auto& [source, message] : failing) {
    SCOPED_TRACE(source);
    const ChatTemplate chat(source);
    expect_error(ExitCode::kBadData, message, [&] { chat.render("[{\"role\": \"user\"}]", options(false)); });
  }
}

TEST(ChatTemplate, RefusesMessagesThatAreNone) {
  const ChatTemplate chat("{{ messages|length }}");
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  for (const std::string& messages :
       {std::string("{}"), std::string("[1,"), std::string(), std::string("[\"\xFF\"]"),
        std::string("[18446744073709551615]"), deep}) {
    SCOPED_TRACE(messages.substr(0, 40));
    expect_error(ExitCode::kBadData, "chat template: ", [&] { chat.render(messages, options(false)); });
  }
  expect_error(ExitCode::kBadData, "a JSON object is wanted",
               [&] { chat.render("[]", options(false), "[]"); });
}

TEST(ChatTemplate, GivesTheDateInTheFormatAsked) {
  const std::string day = ChatTemplate("{{ strftime_now('%d %b %Y') }}").render("[]", options(false));
  EXPECT_EQ(day.size(), 11U) << day;
  EXPECT_EQ(ChatTemplate("{{ strftime_now('at %%') }}").render("[]", options(false)), "at %");
}

}  // namespace
}  // namespace llm_tp

// A template is a file of a model, so it may be hostile: whatever it does ends soon, in little memory.
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "text/chat_template.h"
#include "text_support.h"

namespace llm_tp {
namespace {

using test::expect_error;

std::string repeated(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

void expect_refused(const std::string& source, const std::string& message) {
  SCOPED_TRACE(source.substr(0, 200));
  expect_error(ExitCode::kBadData, message, [&] { ChatTemplate(source).render("[]", ChatOptions{}); });
}

TEST(ChatTemplateLimits, NumbersBeyondTheRangeOfFloatsAreInfiniteOrZeroAsInPython) {
  EXPECT_EQ(ChatTemplate("{{ 1e400 }} {{ -1e400 }} {{ 1e-400 }}").render("[]", ChatOptions{}),
            "inf -inf 0.0");
  for (const char* source :
       {"{{ 1e400|int }}", "{{ (1e400 - 1e400)|int }}", "{{ 1e400 // 1 }}", "{{ 1e400 % 2 }}",
        "{{ 'a' * 1e400 }}", "{{ range(1e400) }}", "{{ '%d' % 1e400 }}", "{{ 1e400|round }}",
        "{{ 1e30|int }}", "{{ 1e30 // 1 }}", "{{ 'abc'[1e400] }}", "{{ 'abc'[:1e400] }}",
        "{{ 1e400|tojson }}", "{{ 1e300 ** 9 }}", "{{ '%c' % 1e400 }}", "{{ 'a'|indent(1e400) }}",
        "{{ 'abc'|truncate(1e400) }}", "{{ '%*d' % (1e400, 1) }}"}) {
    SCOPED_TRACE(source);
    try {
      ChatTemplate(source).render("[]", ChatOptions{});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
    }
  }
}

TEST(ChatTemplateLimits, NoValueIsLargerThan64MiB) {
  const std::string message = "a value is larger than 64 MiB";
  expect_refused("{{ 'a' * 10**9 }}", message);
  expect_refused("{{ ['a'] * 10**9 }}", message);
  expect_refused("{{ 'a' * 9223372036854775807 }}", message);
  expect_refused(
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      message);
  expect_refused(
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      message);
  expect_refused(
      "{% set ns = namespace(l=['a']) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}",
      message);
  expect_refused("{{ ('a' * 1000000).replace('a', 'b' * 1000) }}", message);
  expect_refused("{{ ('a' * 1000000).replace('', 'b' * 1000) }}", message);
  expect_refused("{{ ('\\n' * 1000000)|indent(1024, blank=true) }}", message);
  expect_refused("{{ range(10000)|list|tojson(separators=('x' * 100000, ':')) }}", message);
  expect_refused("{{ range(10000)|join('x' * 100000) }}", message);
  expect_refused("{{ ('x' * 100000).join(['a'] * 10000) }}", message);
}

TEST(ChatTemplateLimits, AllValuesTogetherFit256MiB) {
  std::string many = "{% set a = 'x' * 30000000 %}";
  for (int i = 0; i < 20; ++i) many += "{% set a" + std::to_string(i) + " = a ~ " + std::to_string(i) + " %}";
  expect_refused(many, "the template's values need more than 256 MiB");
}

TEST(ChatTemplateLimits, WhatIsNoLongerHeldCountsNoMore) {
  // 30 x 10 MB, one after the other.
  const ChatTemplate chat("{% for i in range(30) %}{% set a = ('x' * 10000000) ~ i %}{% endfor %}done");
  EXPECT_EQ(chat.render("[]", ChatOptions{}), "done");
  EXPECT_EQ(chat.render("[]", ChatOptions{}), "done");
}

TEST(ChatTemplateLimits, LoopsEnd) {
  const std::string big = "{% for a in range(100000) %}{% for b in range(100000) %}";
  expect_refused(big + "{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}",
                 "loops of more than 1000000 iterations");
  expect_refused(big + "{% endfor %}{% endfor %}", "loops of more than 1000000 iterations");
  expect_refused("{{ range(10**9)|list }}", "Range too big");
}

TEST(ChatTemplateLimits, WorkEnds) {
  const std::string message = "the template does too much work";
  expect_refused("{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
                 message);
  expect_refused("{{ ('ab' * 1000000).count('a' * 500000 ~ 'b') }}", message);
  expect_refused("{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{{ a[999999] }}{% endfor %}",
                 message);
  expect_refused("{{ (['abc'] * 200000)|sum(start='') }}", message);
  expect_refused("{% set a = 'a' * 500000 %}{% for i in range(1000) %}{% set b = a|list %}{% endfor %}",
                 message);
  std::string keys;
  for (int i = 0; i < 10000; ++i) keys += std::to_string(i) + ":1,";
  expect_refused("{% set d = {" + keys + "} %}{% for i in range(100000) %}{% set e = dict(d) %}{% endfor %}",
                 message);
}

TEST(ChatTemplateLimits, OutputEnds) {
  expect_refused("{% set a = 'a' * 9000000 %}{% for i in range(9) %}{{ a }}{% endfor %}",
                 "the template prints more than 64 MiB");
}

TEST(ChatTemplateLimits, DepthEnds) {
  expect_refused("{% macro m(n) %}{{ m(n+1) }}{% endmacro %}{{ m(0) }}", "nest deeper than 1000 levels");
  expect_refused(
      "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
      "values nest deeper than 200 levels");
  const std::string message = "nested deeper than 200 levels";
  expect_refused("{{ " + repeated("(", 100000) + "1", "a tag that does not end");
  expect_refused("{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}", message);
  expect_refused("{{ " + repeated("[", 100000) + "1" + repeated("]", 100000) + " }}", message);
  expect_refused("{{ " + repeated("-", 100000) + "1 }}", message);
  expect_refused("{{ " + repeated("not ", 100000) + "1 }}", message);
  expect_refused(repeated("{% if 1 %}", 50000), message);
  expect_refused(repeated("{% for a in b %}", 50000), message);
  const std::string chain = "an expression of more than 200 levels";
  expect_refused("{{ 1" + repeated(" + 1", 100000) + " }}", chain);
  expect_refused("{{ 1" + repeated(" and 1", 100000) + " }}", chain);
  expect_refused("{{ a" + repeated(".b", 100000) + " }}", chain);
  expect_refused("{{ a" + repeated("|trim", 100000) + " }}", chain);
  expect_refused("{{ a" + repeated("()", 100000) + " }}", chain);
}

TEST(ChatTemplateLimits, SourceEnds) {
  expect_refused(std::string((1 << 20) + 1, ' '), "bytes, at most 1048576 are read");
}

// A long conversation is far from all of the limits.
TEST(ChatTemplateLimits, LongChatsFit) {
  const std::string content(2000, 'x');
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 1000; ++i) messages.push_back({i % 2 ? "assistant" : "user", content});
  const ChatTemplate chat(
      "{% set ns = namespace(out='') %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 "
      "== 0) %}"
      "{{ raise_exception('order') }}{% endif %}{% set text = m.content | trim %}"
      "{% if '</think>' in text %}{% set text = text.split('</think>')[-1].lstrip() %}{% endif %}"
      "{% set ns.out = ns.out + '<' + m['role'] + '>' + text + '\n' %}{% endfor %}{{ ns.out }}");
  EXPECT_EQ(chat.render(messages, ChatOptions{}).size(), 500U * (2000 + 7) + 500U * (2000 + 12));
}

}  // namespace
}  // namespace llm_tp

#include "serve/tools/tool_grammar.h"

#include <algorithm>

#include "base/error.h"
#include "decoding/grammar/frontends.h"
#include "serve/api_error.h"
#include "serve/json_text.h"

namespace llm_tp {
namespace {

using Node = Grammar::Node;

/// Of each tool and style its calls, and what stands around them.
class Builder {
 public:
  Builder(const ToolRequest& request, ToolStyle style)
      : request_(request), style_(style), marker_(tool_marker(style)) {}

  Grammar run() {
    const bool required = request_.choice == ToolRequest::Choice::kRequired;
    const Node whole = required ? sequence({marked(), behind_marker()}) : free_text();
    const Grammar::Rule start = grammar_.declare("reply");
    grammar_.define(start, whole);
    grammar_.set_start(start);
    return std::move(grammar_);
  }

 private:
  Node text(std::string_view literal) { return grammar_.text(literal); }
  Node sequence(std::vector<Node> nodes) { return grammar_.sequence(std::move(nodes)); }
  /// The calls as a rule: they stand behind text and without it.
  Node behind_marker() {
    if (calls_ < 0) {
      calls_ = grammar_.declare("calls");
      grammar_.define(calls_, calls());
    }
    return grammar_.reference(calls_);
  }
  /// llama3 writes its calls without a marker, unless text stands before.
  Node marked() { return style_ == ToolStyle::kLlama3 ? grammar_.nothing() : text(marker_); }

  std::string schema_of(std::size_t i, const std::string& field) const {
    const Tool& tool = request_.tools[i];
    if (request_.choice != ToolRequest::Choice::kRequired && !tool.strict) return R"({"type":"object"})";
    if (tool.parameters.empty()) return R"({"type":"object","additionalProperties":false})";
    Json schema = Json::parse(tool.parameters);
    if (!schema.contains("type")) schema["type"] = "object";
    if (schema["type"] != "object")
      throw ApiError(400, field + ": wanted a schema of type object: arguments have names", field);
    return to_text(schema);
  }

  Node arguments(std::size_t i) {
    const std::string field = "tools[" + std::to_string(i) + "].function.parameters";
    try {
      return add_json_schema(grammar_, schema_of(i, field), field);
    } catch (const Error& error) {
      if (error.code() == ExitCode::kBug) throw;
      throw ApiError(400, error.what(), field);
    }
  }

  Node call(std::size_t i) {
    const std::string& name = request_.tools[i].name;
    if (style_ == ToolStyle::kMistralNamed) return sequence({text(name + "[ARGS]"), arguments(i)});
    const char* const key = style_ == ToolStyle::kLlama3 ? "parameters" : "arguments";
    return sequence({text("{\"name\": \"" + name + "\", \"" + key + "\": "), arguments(i), text("}")});
  }

  Node any_call() {
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < request_.tools.size(); ++i)
      if (!request_.only || *request_.only == i) nodes.push_back(call(i));
    const Grammar::Rule rule = grammar_.declare("call");
    grammar_.define(rule, grammar_.alternatives(std::move(nodes)));
    return grammar_.reference(rule);
  }

  /// `call`, then `more` as often as it likes where several calls are allowed.
  Node several(Node call, Node more) {
    return request_.parallel ? sequence({call, grammar_.repeat(more, 0, Grammar::kUnbounded)}) : call;
  }

  Node calls() {
    const Node one = any_call();
    switch (style_) {
      case ToolStyle::kNone:
      case ToolStyle::kLlama3:
        return one;
      case ToolStyle::kHermes: {
        const Node framed = sequence({text("\n"), one, text("\n</tool_call>")});
        return several(framed, sequence({text("\n" + std::string(marker_)), framed}));
      }
      case ToolStyle::kMistralList:
        // Older vocabularies put a space behind the marker.
        return sequence(
            {grammar_.optional(text(" ")), text("["), several(one, sequence({text(", "), one})), text("]")});
      case ToolStyle::kMistralNamed:
        break;
    }
    return several(one, sequence({text(marker_), one}));
  }

  /// Text in which the marker stands nowhere but before calls, which end the reply: one rule for each length
  /// of the marker's beginning that the text ends with (Knuth, Morris & Pratt 1977).
  Node free_text() {
    const std::size_t length = marker_.size();
    std::vector<Grammar::Rule> after;
    for (std::size_t known = 0; known < length; ++known)
      after.push_back(grammar_.declare("text " + std::to_string(known)));
    for (std::size_t known = 0; known < length; ++known) {
      std::vector<std::bitset<256>> to(length);  // bytes that lead to each length
      std::vector<Node> ways{grammar_.nothing()};
      for (unsigned byte = 0; byte < 256; ++byte) {
        const std::string seen = std::string(marker_.substr(0, known)) + static_cast<char>(byte);
        std::size_t next = std::min(seen.size(), length);
        while (seen.substr(seen.size() - next) != marker_.substr(0, next)) --next;
        if (next < length) to[next].set(byte);
      }
      for (std::size_t next = 0; next < length; ++next)
        if (to[next].any())
          ways.push_back(sequence({grammar_.bytes(to[next]), grammar_.reference(after[next])}));
      if (known + 1 == length) ways.push_back(sequence({text(marker_.substr(known)), behind_marker()}));
      grammar_.define(after[known], grammar_.alternatives(std::move(ways)));
    }
    if (style_ != ToolStyle::kLlama3) return grammar_.reference(after[0]);
    // llama3: what begins like a call is one.
    std::bitset<256> blank, other;
    for (const char c : {' ', '\t', '\n', '\r'}) blank.set(static_cast<unsigned char>(c));
    other = ~blank;
    other.reset('{');
    other.reset(static_cast<unsigned char>(marker_[0]));
    const Node begun = grammar_.alternatives(
        {grammar_.nothing(), behind_marker(), sequence({grammar_.bytes(other), grammar_.reference(after[0])}),
         sequence({text(marker_.substr(0, 1)), grammar_.reference(after[1])})});
    return sequence({grammar_.repeat(grammar_.bytes(blank), 0, Grammar::kUnbounded), begun});
  }

  const ToolRequest& request_;
  const ToolStyle style_;
  const std::string_view marker_;
  Grammar grammar_;
  Grammar::Rule calls_ = -1;
};

}  // namespace

bool needs_tool_grammar(const ToolRequest& request) {
  return request.in_use() &&
         (request.choice == ToolRequest::Choice::kRequired || !request.parallel ||
          std::any_of(request.tools.begin(), request.tools.end(), [](const Tool& t) { return t.strict; }));
}

Grammar tool_grammar(const ToolRequest& request, ToolStyle style) { return Builder(request, style).run(); }

}  // namespace llm_tp

#include <algorithm>

#include "base/error.h"
#include "decoding/grammar/frontends.h"
#include "decoding/grammar/pattern_reader.h"

namespace llm_tp {
namespace {

using Node = Grammar::Node;
using Ranges = std::vector<Grammar::CodePoints>;

constexpr int kDeepest = 200;  // groups in groups

/// What must be escaped inside a JSON string.
Ranges escaped_in_json() { return {{0, 0x1F}, {U'"', U'"'}, {U'\\', U'\\'}}; }

Ranges common(const Ranges& a, const Ranges& b) {
  Ranges both;
  for (const auto& x : a)
    for (const auto& y : b)
      if (const auto first = std::max(x.first, y.first), last = std::min(x.last, y.last); first <= last)
        both.push_back({first, last});
  return both;
}

class RegexParser {
 public:
  RegexParser(Grammar& grammar, std::string_view text, const std::string& what, bool in_json_string)
      : grammar_(grammar), in_(text, what), json_(in_json_string) {}

  Node run() {
    const bool from_start = in_.take("^") || !json_;
    Node body = alternatives(0);
    const bool to_end = took_end_ || !json_;
    if (!in_.at_end()) in_.refuse("found ) without its (");
    std::vector<Node> parts;
    if (!from_start) parts.push_back(anything());
    parts.push_back(body);
    if (!to_end) parts.push_back(anything());
    return grammar_.sequence(std::move(parts));
  }

 private:
  Node one_of(const Ranges& ranges) {
    const Ranges allowed = json_ ? common(ranges, all_but(escaped_in_json())) : ranges;
    if (allowed.empty()) in_.refuse("found a character that a JSON string cannot hold as it is");
    return grammar_.code_points(allowed);
  }
  Node anything() { return grammar_.repeat(one_of(all_but({})), 0, Grammar::kUnbounded); }

  Node alternatives(int depth) {
    if (depth > kDeepest) in_.refuse("groups are nested deeper than 200, which is the bound");
    std::vector<Node> branches{sequence(depth)};
    while (in_.take("|")) branches.push_back(sequence(depth));
    return branches.size() == 1 ? branches[0] : grammar_.alternatives(std::move(branches));
  }

  Node sequence(int depth) {
    std::vector<Node> items;
    while (!in_.at_end() && in_.peek() != '|' && in_.peek() != ')') {
      if (in_.take("$")) {
        if (!in_.at_end()) in_.refuse("$ is supported at the very end alone");
        took_end_ = true;
        break;
      }
      items.push_back(repeated(atom(depth)));
    }
    return grammar_.sequence(std::move(items));
  }

  Node atom(int depth) {
    if (in_.take("(")) {
      if (in_.take("?") && !in_.take(":"))
        in_.refuse("(? is supported as (?: alone: look-around and names are not");
      const Node inner = alternatives(depth + 1);
      if (!in_.take(")")) in_.refuse("wanted ) at the end of the group");
      return inner;
    }
    if (in_.take("[")) return one_of(in_.bracket());
    if (in_.take(".")) return one_of(all_but({{U'\n', U'\n'}}));
    if (in_.take("\\")) return one_of(in_.escape());
    if (in_.peek() == '^') in_.refuse("^ is supported at the very beginning alone");
    if (in_.peek() == '*' || in_.peek() == '+' || in_.peek() == '?')
      in_.refuse("nothing stands before the repeat");
    const char32_t c = in_.code_point();
    return one_of({{c, c}});
  }

  Node repeated(Node node) {
    while (const auto times = in_.repeat()) {
      node = grammar_.repeat(node, times->first, times->second);
      in_.take("?");  // lazy repeats match the same texts
    }
    return node;
  }

  Grammar& grammar_;
  PatternReader in_;
  bool json_;
  bool took_end_ = false;
};

}  // namespace

Grammar::Node add_regex(Grammar& grammar, std::string_view expression, const std::string& what,
                        bool in_json_string) {
  return RegexParser(grammar, expression, what, in_json_string).run();
}

Grammar grammar_of_regex(std::string_view expression) {
  Grammar grammar;
  const Grammar::Rule root = grammar.declare("regex");
  grammar.define(root, add_regex(grammar, expression, "regex", false));
  grammar.set_start(root);
  return grammar;
}

Grammar grammar_of_choices(const std::vector<std::string>& texts) {
  Grammar grammar;
  std::vector<Node> branches;
  for (const std::string& text : texts) branches.push_back(grammar.text(text));
  const Grammar::Rule root = grammar.declare("choice");
  grammar.define(root, grammar.alternatives(std::move(branches)));
  grammar.set_start(root);
  return grammar;
}

}  // namespace llm_tp

#include <cctype>
#include <map>

#include "decoding/grammar/frontends.h"
#include "decoding/grammar/pattern_reader.h"

namespace llm_tp {
namespace {

using Node = Grammar::Node;
constexpr int kDeepest = 200;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

class EbnfParser {
 public:
  EbnfParser(std::string_view text, const std::string& what) : in_(text, what) {}

  Grammar run() {
    space(true);
    while (!in_.at_end()) {
      const Grammar::Rule rule = rule_of(name());
      space(false);
      if (!in_.take("::=")) in_.refuse("wanted ::= after the rule's name");
      if (grammar_.body(rule) >= 0) in_.refuse("the rule \"" + grammar_.name(rule) + "\" is defined twice");
      space(true);
      grammar_.define(rule, alternatives(0));
      space(true);
    }
    if (grammar_.rules() == 0) in_.refuse("found no rule, wanted lines such as root ::= \"yes\" | \"no\"");
    const auto root = rules_.find("root");
    grammar_.set_start(root == rules_.end() ? 0 : root->second);
    return std::move(grammar_);
  }

 private:
  void space(bool newlines) {
    while (!in_.at_end()) {
      const char c = in_.peek();
      if (c == '#')
        while (!in_.at_end() && in_.peek() != '\n') in_.skip(1);
      else if (c == ' ' || c == '\t' || c == '\r' || (newlines && c == '\n'))
        in_.skip(1);
      else
        return;
    }
  }

  std::string name() {
    std::string name;
    for (; is_name(in_.peek()); in_.skip(1)) name += in_.peek();
    if (name.empty()) in_.refuse("wanted the name of a rule");
    return name;
  }

  Grammar::Rule rule_of(const std::string& name) {
    const auto known = rules_.find(name);
    if (known != rules_.end()) return known->second;
    return rules_[name] = grammar_.declare(name);
  }

  Node alternatives(int depth) {
    if (depth > kDeepest) in_.refuse("groups are nested deeper than 200, which is the bound");
    std::vector<Node> branches{sequence(depth)};
    while (true) {
      // A rule goes on in the next line where that begins with |.
      space(true);
      if (!in_.take("|")) break;
      space(true);
      branches.push_back(sequence(depth));
    }
    return branches.size() == 1 ? branches[0] : grammar_.alternatives(std::move(branches));
  }

  Node sequence(int depth) {
    std::vector<Node> items;
    while (true) {
      space(depth > 0);
      const char c = in_.peek();
      if (in_.at_end() || c == '|' || c == ')' || c == '\n') return grammar_.sequence(std::move(items));
      items.push_back(repeated(atom(depth)));
    }
  }

  Node atom(int depth) {
    if (in_.take("\"")) return text();
    if (in_.take("[")) return grammar_.code_points(in_.bracket());
    if (in_.take(".")) return grammar_.code_points(all_but({}));
    if (in_.take("(")) {
      space(true);
      const Node inner = alternatives(depth + 1);
      space(true);
      if (!in_.take(")")) in_.refuse("wanted ) at the end of the group");
      return inner;
    }
    if (!is_name(in_.peek())) in_.refuse("wanted a text, a class, a group or the name of a rule");
    return grammar_.reference(rule_of(name()));
  }

  Node text() {
    std::vector<Node> items;
    while (!in_.take("\"")) {
      if (in_.at_end() || in_.peek() == '\n') in_.refuse("wanted \" at the end of the text");
      if (in_.take("\\")) {
        items.push_back(grammar_.code_points(in_.escape()));
      } else {
        const char32_t c = in_.code_point();
        items.push_back(grammar_.code_points({{c, c}}));
      }
    }
    return grammar_.sequence(std::move(items));
  }

  Node repeated(Node node) {
    while (const auto times = in_.repeat()) {
      node = grammar_.repeat(node, times->first, times->second);
    }
    return node;
  }

  PatternReader in_;
  Grammar grammar_;
  std::map<std::string, Grammar::Rule> rules_;
};

}  // namespace

Grammar grammar_of_ebnf(std::string_view text, const std::string& name) {
  return EbnfParser(text, name).run();
}

}  // namespace llm_tp

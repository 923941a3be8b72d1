#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/jinja/expression_parser.h"
#include "text/jinja/syntax.h"

namespace llm_tp::jinja {
namespace {

using Kind = Statement::Kind;
using TokenKind = Token::Kind;
using Ends = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  explicit StatementParser(std::string_view source) : in_(tokenize_template(source)) {}

  Body run() {
    Body body = this->body({});
    if (in_.current().kind != TokenKind::kEnd) in_.fail_here("a statement");
    return body;
  }

 private:
  /// Statements up to a tag that starts with one of `ends`, whose name stays the current token; without ends
  /// up to the end of the template.
  Body body(Ends ends) {
    const ExpressionParser::Nesting nesting(in_);
    Body statements;
    for (;;) {
      const Position at = in_.current().at;
      switch (in_.current().kind) {
        case TokenKind::kEnd:
          if (ends.size() > 0) in_.fail_here("'{% " + std::string(*(ends.end() - 1)) + " %}'");
          return statements;
        case TokenKind::kText: {
          Statement text{Kind::kText, at};
          text.text = in_.take().text;
          statements.push_back(std::move(text));
          break;
        }
        case TokenKind::kPrintBegin: {
          in_.take();
          Statement print{Kind::kPrint, at};
          print.value = in_.tuple(true);
          if (in_.current().kind != TokenKind::kPrintEnd) in_.fail_here("'}}'");
          in_.take();
          statements.push_back(std::move(print));
          break;
        }
        default:
          in_.take();  // {%
          if (std::any_of(ends.begin(), ends.end(),
                          [this](std::string_view end) { return in_.current().is_name(end); }))
            return statements;
          statements.push_back(statement());
      }
    }
  }

  void end_tag() {
    if (in_.current().kind != TokenKind::kTagEnd) in_.fail_here("'%}'");
    in_.take();
  }

  Statement statement() {
    const Position at = in_.current().at;
    const std::string name = in_.expect_any_name("a statement");
    if (name == "if") return if_statement(at);
    if (name == "for") return for_statement(at);
    if (name == "set") return set_statement(at);
    if (name == "macro") return macro(at);
    if (name == "generation") return generation(at);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail_at(at, "'" + name + "' outside of a loop");
      end_tag();
      return Statement{name == "break" ? Kind::kBreak : Kind::kContinue, at};
    }
    static constexpr std::array<std::string_view, 5> ends = {"endif", "endfor", "else", "elif", "endmacro"};
    if (std::find(ends.begin(), ends.end(), name) != ends.end())
      fail_at(at, "'" + name + "' without its beginning");
    fail_at(at, "the statement '" + name + "' is not supported");
  }

  Statement if_statement(Position at) {
    Statement node{Kind::kIf, at};
    for (;;) {
      ExpressionPointer condition = in_.tuple(false);
      end_tag();
      Body taken = body({"elif", "else", "endif"});
      node.branches.push_back({std::move(condition), std::move(taken)});
      if (!in_.take_name("elif")) break;
    }
    if (in_.take_name("else")) {
      end_tag();
      node.branches.push_back({nullptr, body({"endif"})});
    }
    in_.expect_name("endif");
    end_tag();
    return node;
  }

  Statement for_statement(Position at) {
    Statement node{Kind::kFor, at};
    node.target = target();
    in_.expect_name("in");
    node.value = in_.tuple(false, "recursive");
    if (in_.take_name("if")) node.condition = in_.expression();
    if (in_.current().is_name("recursive")) fail_at(in_.current().at, "recursive loops are not supported");
    end_tag();
    ++loops_;
    node.body = body({"else", "endfor"});
    --loops_;
    if (in_.take_name("else")) {
      end_tag();
      node.otherwise = body({"endfor"});
    }
    in_.expect_name("endfor");
    end_tag();
    return node;
  }

  /// Names with commas, in parentheses or not.
  Target target() {
    Target target;
    const bool in_brackets = in_.take_operator("(");
    do {
      if (in_.current().kind != TokenKind::kName && !target.names.empty()) break;  // "a, = …"
      target.names.push_back(assignable());
      if (!in_.current().is_operator(",")) break;
      target.is_tuple = true;
    } while (in_.take_operator(","));
    if (in_brackets) in_.expect_operator(")");
    return target;
  }

  std::string assignable() {
    const Position at = in_.current().at;
    std::string name = in_.expect_any_name("a name to assign to");
    static constexpr std::array<std::string_view, 6> constants = {"true", "false", "none",
                                                                  "True", "False", "None"};
    if (std::find(constants.begin(), constants.end(), name) != constants.end())
      fail_at(at, "cannot assign to '" + name + "'");
    return name;
  }

  Statement set_statement(Position at) {
    Statement node{Kind::kSet, at};
    node.target = target();
    if (!node.target.is_tuple && in_.take_operator("."))
      node.target.attribute = in_.expect_any_name("an attribute's name");
    if (in_.take_operator("=")) {
      node.value = in_.tuple(true);
      end_tag();
      return node;
    }
    node.kind = Kind::kSetBlock;
    node.value = in_.filters(nullptr);
    end_tag();
    node.body = body({"endset"});
    in_.expect_name("endset");
    end_tag();
    return node;
  }

  Statement macro(Position at) {
    Statement node{Kind::kMacro, at};
    node.text = assignable();
    in_.expect_operator("(");
    while (!in_.current().is_operator(")")) {
      Parameter parameter{assignable(), nullptr};
      if (in_.take_operator("=")) {
        parameter.otherwise = in_.expression();
      } else if (!node.parameters.empty() && node.parameters.back().otherwise) {
        in_.fail_here("a default: the parameter before has one");
      }
      node.parameters.push_back(std::move(parameter));
      if (!in_.current().is_operator(")")) in_.expect_operator(",");
    }
    in_.expect_operator(")");
    end_tag();
    const int loops_outside = std::exchange(loops_, 0);
    node.body = body({"endmacro"});
    loops_ = loops_outside;
    in_.expect_name("endmacro");
    end_tag();
    return node;
  }

  Statement generation(Position at) {
    Statement node{Kind::kBlock, at};
    end_tag();
    node.body = body({"endgeneration"});
    in_.expect_name("endgeneration");
    end_tag();
    return node;
  }

  ExpressionParser in_;
  int loops_ = 0;  // around the current statement, inside its macro
};

}  // namespace

Body parse_template(std::string_view source) { return StatementParser(source).run(); }

}  // namespace llm_tp::jinja

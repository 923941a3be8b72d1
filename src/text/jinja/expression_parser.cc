#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "text/jinja/builtins.h"

namespace llm_tp::jinja {
namespace {

using Kind = Expression::Kind;
using TokenKind = Token::Kind;

std::string shown(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText:
      return "text";
    case TokenKind::kPrintBegin:
      return "'{{'";
    case TokenKind::kPrintEnd:
      return "'}}'";
    case TokenKind::kTagBegin:
      return "'{%'";
    case TokenKind::kTagEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kString:
      return "a string";
    default:
      return "'" + token.text + "'";
  }
}

template <typename... Parts>
std::vector<ExpressionPointer> parts_of(Parts... parts) {
  std::vector<ExpressionPointer> list;
  (list.push_back(std::move(parts)), ...);
  return list;
}

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (parser.depth_ >= kMaxSyntaxDepth)
    fail_at(parser.current().at, "nested deeper than " + std::to_string(kMaxSyntaxDepth) + " levels");
  ++parser.depth_;
}

Token ExpressionParser::take() {
  return current().kind == TokenKind::kEnd ? current() : std::move(tokens_[at_++]);
}

bool ExpressionParser::take_operator(std::string_view wanted) {
  const bool is_there = current().is_operator(wanted);
  if (is_there) ++at_;
  return is_there;
}

bool ExpressionParser::take_name(std::string_view wanted) {
  const bool is_there = current().is_name(wanted);
  if (is_there) ++at_;
  return is_there;
}

void ExpressionParser::expect_operator(std::string_view wanted) {
  if (!take_operator(wanted)) fail_here("'" + std::string(wanted) + "'");
}

void ExpressionParser::expect_name(std::string_view wanted) {
  if (!take_name(wanted)) fail_here("'" + std::string(wanted) + "'");
}

std::string ExpressionParser::expect_any_name(const char* what) {
  if (current().kind != TokenKind::kName) fail_here(what);
  return take().text;
}

void ExpressionParser::fail_here(const std::string& wanted) const {
  fail_at(current().at, "found " + shown(current()) + ", wanted " + wanted);
}

ExpressionPointer ExpressionParser::make(Kind kind, Position at, std::string name,
                                         std::vector<ExpressionPointer> parts) const {
  auto node = std::make_unique<Expression>(Expression{kind, at, std::move(name)});
  node->parts = std::move(parts);
  for (const ExpressionPointer& part : node->parts) {
    if (part) node->depth = std::max(node->depth, part->depth + 1);
  }
  if (node->depth > kMaxSyntaxDepth)
    fail_at(at, "an expression of more than " + std::to_string(kMaxSyntaxDepth) + " levels");
  return node;
}

ExpressionPointer ExpressionParser::expression(bool with_conditional) {
  const Nesting nesting(*this);
  ExpressionPointer value = disjunction();
  while (with_conditional && current().is_name("if")) {
    const Position at = take().at;
    ExpressionPointer condition = disjunction();
    ExpressionPointer otherwise = take_name("else") ? expression() : nullptr;
    value = make(Kind::kConditional, at, "",
                 parts_of(std::move(condition), std::move(value), std::move(otherwise)));
  }
  return value;
}

ExpressionPointer ExpressionParser::disjunction() {
  ExpressionPointer left = conjunction();
  while (current().is_name("or")) {
    const Position at = take().at;
    ExpressionPointer right = conjunction();
    left = make(Kind::kOr, at, "", parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPointer ExpressionParser::conjunction() {
  ExpressionPointer left = negation();
  while (current().is_name("and")) {
    const Position at = take().at;
    ExpressionPointer right = negation();
    left = make(Kind::kAnd, at, "", parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPointer ExpressionParser::negation() {
  if (!current().is_name("not")) return comparison();
  const Nesting nesting(*this);
  const Position at = take().at;
  return make(Kind::kNot, at, "", parts_of(negation()));
}

ExpressionPointer ExpressionParser::comparison() {
  static constexpr std::array<std::string_view, 6> symbols = {"==", "!=", "<", "<=", ">", ">="};
  ExpressionPointer first = sum();
  const Position at = current().at;
  std::vector<ExpressionPointer> operands;
  std::vector<std::string> comparisons;
  for (;;) {
    const Token& token = current();
    if (token.kind == TokenKind::kOperator &&
        std::find(symbols.begin(), symbols.end(), token.text) != symbols.end()) {
      comparisons.push_back(take().text);
    } else if (take_name("in")) {
      comparisons.emplace_back("in");
    } else if (token.is_name("not") && next().is_name("in")) {
      at_ += 2;
      comparisons.emplace_back("not in");
    } else {
      break;
    }
    operands.push_back(sum());
  }
  if (operands.empty()) return first;
  operands.insert(operands.begin(), std::move(first));
  ExpressionPointer node = make(Kind::kCompare, at, "", std::move(operands));
  node->comparisons = std::move(comparisons);
  return node;
}

ExpressionPointer ExpressionParser::sum() {
  ExpressionPointer left = concatenation();
  while (current().is_operator("+") || current().is_operator("-")) {
    Token sign = take();
    ExpressionPointer right = concatenation();
    left = make(Kind::kBinary, sign.at, std::move(sign.text), parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPointer ExpressionParser::concatenation() {
  ExpressionPointer first = product();
  if (!current().is_operator("~")) return first;
  const Position at = current().at;
  std::vector<ExpressionPointer> operands = parts_of(std::move(first));
  while (take_operator("~")) operands.push_back(product());
  return make(Kind::kConcatenate, at, "", std::move(operands));
}

ExpressionPointer ExpressionParser::product() {
  ExpressionPointer left = power();
  while (current().is_operator("*") || current().is_operator("/") || current().is_operator("//") ||
         current().is_operator("%")) {
    Token sign = take();
    ExpressionPointer right = power();
    left = make(Kind::kBinary, sign.at, std::move(sign.text), parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPointer ExpressionParser::power() {
  ExpressionPointer left = unary();
  while (current().is_operator("**")) {
    const Position at = take().at;
    ExpressionPointer right = unary();
    left = make(Kind::kBinary, at, "**", parts_of(std::move(left), std::move(right)));
  }
  return left;
}

ExpressionPointer ExpressionParser::unary(bool with_filters) {
  ExpressionPointer node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nesting nesting(*this);
    Token sign = take();
    node = make(Kind::kUnary, sign.at, std::move(sign.text), parts_of(unary(false)));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionPointer ExpressionParser::constant(Value value) {
  ExpressionPointer node = make(Kind::kConstant, current().at, "", {});
  node->constant = std::move(value);
  ++at_;
  return node;
}

ExpressionPointer ExpressionParser::primary() {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName:
      if (token.text == "true" || token.text == "True") return constant(true);
      if (token.text == "false" || token.text == "False") return constant(false);
      if (token.text == "none" || token.text == "None") return constant(None{});
      return make(Kind::kName, token.at, take().text, {});
    case TokenKind::kString:
      return string_literal();
    case TokenKind::kInteger: {
      std::int64_t number = 0;
      const char* const end = token.text.data() + token.text.size();
      if (std::from_chars(token.text.data(), end, number).ec != std::errc())
        fail_at(token.at, "an integer beyond 64 bits");
      return constant(number);
    }
    case TokenKind::kFloat:
      return constant(std::strtod(token.text.c_str(), nullptr));  // infinite where too large, as in Python
    default:
      break;
  }
  if (take_operator("(")) {
    ExpressionPointer inside = tuple(true);
    expect_operator(")");
    return inside;
  }
  if (token.is_operator("[")) return list();
  if (token.is_operator("{")) return dict();
  fail_here("an expression");
}

ExpressionPointer ExpressionParser::string_literal() {
  const Position at = current().at;
  std::string text;
  while (current().kind == TokenKind::kString) text += take().text;  // adjacent strings are one
  ExpressionPointer node = make(Kind::kConstant, at, "", {});
  node->constant = std::move(text);
  return node;
}

ExpressionPointer ExpressionParser::list() {
  const Position at = take().at;
  std::vector<ExpressionPointer> items;
  while (!current().is_operator("]")) {
    if (!items.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    items.push_back(expression());
  }
  expect_operator("]");
  return make(Kind::kList, at, "", std::move(items));
}

ExpressionPointer ExpressionParser::dict() {
  const Position at = take().at;
  std::vector<ExpressionPointer> parts;
  while (!current().is_operator("}")) {
    if (!parts.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    parts.push_back(expression());
    expect_operator(":");
    parts.push_back(expression());
  }
  expect_operator("}");
  return make(Kind::kDict, at, "", std::move(parts));
}

bool ExpressionParser::ends_tuple(std::string_view end) const {
  const Token& token = current();
  return token.kind == TokenKind::kPrintEnd || token.kind == TokenKind::kTagEnd || token.is_operator(")") ||
         (!end.empty() && token.is_name(end));
}

ExpressionPointer ExpressionParser::tuple(bool with_conditional, std::string_view end) {
  const Position at = current().at;
  const bool in_brackets = at_ > 0 && tokens_[at_ - 1].is_operator("(");
  std::vector<ExpressionPointer> items;
  bool has_comma = false;
  while (!ends_tuple(end)) {
    items.push_back(expression(with_conditional));
    if (!take_operator(",")) break;
    has_comma = true;
  }
  if (items.empty() && !in_brackets) fail_here("an expression");
  if (!has_comma && !items.empty()) return std::move(items[0]);
  return make(Kind::kTuple, at, "", std::move(items));
}

ExpressionPointer ExpressionParser::postfix(ExpressionPointer object) {
  for (;;) {
    if (current().is_operator(".")) {
      object = attribute(std::move(object));
    } else if (current().is_operator("[")) {
      object = subscript(std::move(object));
    } else if (current().is_operator("(")) {
      object = call(std::move(object));
    } else {
      return object;
    }
  }
}

ExpressionPointer ExpressionParser::filters_and_tests(ExpressionPointer value) {
  for (;;) {
    if (current().is_operator("|")) {
      value = filter(std::move(value));
    } else if (current().is_name("is")) {
      value = test(std::move(value));
    } else if (current().is_operator("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPointer ExpressionParser::filters(ExpressionPointer value) {
  while (current().is_operator("|")) value = filter(std::move(value));
  return value;
}

ExpressionPointer ExpressionParser::attribute(ExpressionPointer object) {
  const Position at = take().at;
  if (current().kind == TokenKind::kInteger) {
    ExpressionPointer index = primary();
    return make(Kind::kSubscript, at, "", parts_of(std::move(object), std::move(index)));
  }
  std::string name = expect_any_name("an attribute's name");
  return make(Kind::kAttribute, at, std::move(name), parts_of(std::move(object)));
}

ExpressionPointer ExpressionParser::subscript(ExpressionPointer object) {
  const Position at = take().at;
  ExpressionPointer limits[3];
  int colons = 0;
  while (!current().is_operator("]")) {
    if (current().is_operator(":")) {
      if (++colons > 2) fail_here("']'");
      ++at_;
      continue;
    }
    if (limits[colons]) fail_here("']'");
    limits[colons] = expression();
  }
  ++at_;
  if (colons > 0) {
    return make(
        Kind::kSlice, at, "",
        parts_of(std::move(object), std::move(limits[0]), std::move(limits[1]), std::move(limits[2])));
  }
  if (!limits[0]) fail_at(at, "empty brackets, an index or a slice is wanted");
  return make(Kind::kSubscript, at, "", parts_of(std::move(object), std::move(limits[0])));
}

void ExpressionParser::arguments(Expression& node) {
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (current().is_operator("*") || current().is_operator("**"))
      fail_at(current().at, "unpacking of arguments is not supported");
    if (current().kind == TokenKind::kName && next().is_operator("=")) {
      std::string name = take().text;
      ++at_;
      node.named.emplace_back(std::move(name), expression());
      node.depth = std::max(node.depth, node.named.back().second->depth + 1);
    } else {
      if (!node.named.empty()) fail_here("a named argument: they stand last");
      node.parts.push_back(expression());
      node.depth = std::max(node.depth, node.parts.back()->depth + 1);
    }
    if (!current().is_operator(")")) expect_operator(",");
  }
  expect_operator(")");
}

ExpressionPointer ExpressionParser::call(ExpressionPointer function) {
  const Nesting nesting(*this);
  ExpressionPointer node = make(Kind::kCall, current().at, "", parts_of(std::move(function)));
  arguments(*node);
  return node;
}

ExpressionPointer ExpressionParser::filter(ExpressionPointer value) {
  ++at_;
  const Position at = current().at;
  std::string name = expect_any_name("a filter's name");
  if (!find_filter(name)) fail_at(at, "the filter '" + name + "' is not supported");
  ExpressionPointer node = make(Kind::kFilter, at, std::move(name), parts_of(std::move(value)));
  if (current().is_operator("(")) arguments(*node);
  return node;
}

ExpressionPointer ExpressionParser::test(ExpressionPointer value) {
  ++at_;
  const bool is_negated = take_name("not");
  const Position at = current().at;
  std::string name = expect_any_name("a test's name");
  if (!find_test(name)) fail_at(at, "the test '" + name + "' is not supported");
  ExpressionPointer node = make(Kind::kTest, at, std::move(name), parts_of(std::move(value)));
  const Token& token = current();
  const bool is_argument = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                           token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
                           token.is_operator("[") || token.is_operator("{");
  static constexpr std::array<std::string_view, 6> keywords = {"else", "or", "and", "if", "in", "not"};
  const bool is_keyword = token.kind == TokenKind::kName &&
                          std::find(keywords.begin(), keywords.end(), token.text) != keywords.end();
  if (token.is_operator("(")) {
    arguments(*node);
  } else if (is_argument && !is_keyword) {
    if (token.is_name("is")) fail_here("an argument: tests do not chain");
    node->parts.push_back(postfix(primary()));
    node->depth = std::max(node->depth, node->parts.back()->depth + 1);
  }
  return is_negated ? make(Kind::kNot, at, "", parts_of(std::move(node))) : std::move(node);
}

}  // namespace llm_tp::jinja

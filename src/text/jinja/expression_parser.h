#pragma once
#include <string_view>
#include <vector>

#include "text/jinja/syntax.h"

namespace llm_tp::jinja {

/// Reads expressions off a template's tokens, with the precedences of Jinja2's parser: from weakest to
/// strongest  x if y else z,  or,  and,  not,  comparisons and in,  + -,  ~,  * / // %,  **,  unary + -,
/// calls, attributes, filters and tests.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  Token take();
  bool take_operator(std::string_view wanted);
  bool take_name(std::string_view wanted);
  void expect_operator(std::string_view wanted);
  void expect_name(std::string_view wanted);
  std::string expect_any_name(const char* what);
  [[noreturn]] void fail_here(const std::string& wanted) const;

  ExpressionPointer expression(bool with_conditional = true);
  /// One expression, or several with commas: a tuple. Ends before the name `end`, where given.
  ExpressionPointer tuple(bool with_conditional, std::string_view end = {});
  /// The | filters after `value`, which may be null: what a block set holds.
  ExpressionPointer filters(ExpressionPointer value);

  /// Keeps count of the parser's own depth. Errors: kBadData where it is too deep.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    ExpressionParser& parser_;
  };

 private:
  const Token& next() const { return tokens_[at_ + 1]; }
  ExpressionPointer make(Expression::Kind kind, Position at, std::string name,
                         std::vector<ExpressionPointer> parts) const;
  ExpressionPointer disjunction();
  ExpressionPointer conjunction();
  ExpressionPointer negation();
  ExpressionPointer comparison();
  ExpressionPointer sum();
  ExpressionPointer concatenation();
  ExpressionPointer product();
  ExpressionPointer power();
  ExpressionPointer unary(bool with_filters = true);
  ExpressionPointer primary();
  ExpressionPointer constant(Value value);
  ExpressionPointer string_literal();
  ExpressionPointer list();
  ExpressionPointer dict();
  ExpressionPointer postfix(ExpressionPointer object);
  ExpressionPointer filters_and_tests(ExpressionPointer value);
  ExpressionPointer attribute(ExpressionPointer object);
  ExpressionPointer subscript(ExpressionPointer object);
  ExpressionPointer filter(ExpressionPointer value);
  ExpressionPointer test(ExpressionPointer value);
  ExpressionPointer call(ExpressionPointer function);
  void arguments(Expression& call);
  bool ends_tuple(std::string_view end) const;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace llm_tp::jinja

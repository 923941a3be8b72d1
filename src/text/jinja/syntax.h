#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/value.h"

namespace llm_tp::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

/// One node. What stands in `parts` depends on the kind:
struct Expression {
  enum class Kind {
    kConstant,     // constant
    kName,         // name
    kList,         // parts: the items
    kTuple,        // parts: the items
    kDict,         // parts: key, value, key, value…
    kAttribute,    // name; parts: object
    kSubscript,    // parts: object, index
    kSlice,        // parts: object, begin, end, step; null where left out
    kCall,         // parts: function, arguments…; named
    kFilter,       // name; parts: value (null in a block set), arguments…; named
    kTest,         // name; parts: value, arguments…; named
    kUnary,        // name: "-" or "+"; parts: operand
    kNot,          // parts: operand
    kAnd,          // parts: left, right
    kOr,           // parts: left, right
    kBinary,       // name: the operator; parts: left, right
    kConcatenate,  // parts: operands of ~
    kCompare,      // parts: operands; comparisons: between them
    kConditional,  // parts: condition, then, otherwise (null where left out)
  };
  Kind kind;
  Position at;
  std::string name;
  Value constant = {};
  std::vector<ExpressionPointer> parts = {};
  std::vector<std::pair<std::string, ExpressionPointer>> named = {};
  std::vector<std::string> comparisons = {};
  int depth = 1;  // of the tree below
};

struct Statement;
using Body = std::vector<Statement>;

/// What a for loop or a set assigns to: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool is_tuple = false;
  std::optional<std::string> attribute;  // of names[0]
};

struct Parameter {
  std::string name;
  ExpressionPointer otherwise;  // null: none
};

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // value
    kIf,        // branches
    kFor,       // target, value, condition (the filter, or null), body, otherwise
    kSet,       // target, value
    kSetBlock,  // target, value (filters, or null), body
    kMacro,     // text (its name), parameters, body
    kBlock,     // body: {% generation %}, which marks what an assistant said
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPointer condition;  // null: else
    Body body;
  };
  Kind kind;
  Position at;
  std::string text = {};
  ExpressionPointer value = {}, condition = {};
  Target target = {};
  std::vector<Branch> branches = {};
  std::vector<Parameter> parameters = {};
  Body body = {}, otherwise = {};
};

inline constexpr int kMaxSyntaxDepth = 200;

/// Errors: kBadData with line and column for what is outside the subset: statements, filters and tests that
/// are not known, and trees deeper than kMaxSyntaxDepth.
Body parse_template(std::string_view source);

}  // namespace llm_tp::jinja

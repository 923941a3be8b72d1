#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp::jinja {

/// Counted from 1; columns in code points.
struct Position {
  int line = 1, column = 1;
};

/// Ends with Error(kBadData, "chat template:LINE:COLUMN: …").
[[noreturn]] void fail_at(Position at, const std::string& message);

struct Token {
  enum class Kind {
    kText,        // outside of tags, whitespace control applied
    kPrintBegin,  // {{
    kPrintEnd,
    kTagBegin,  // {%
    kTagEnd,
    kName,
    kString,  // its value, escapes read
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;
  Position at;

  bool is_operator(std::string_view wanted) const { return kind == Kind::kOperator && text == wanted; }
  bool is_name(std::string_view wanted) const { return kind == Kind::kName && text == wanted; }
};

/// Cuts a template as Jinja2's lexer does with trim_blocks and lstrip_blocks: the newline after a tag or a
/// comment goes, and so do the blanks between the start of a line and a tag or a comment; - strips all
/// whitespace on its side, + keeps it. The last newline of the template goes, line ends become \n. Errors:
/// kBadData with line and column.
std::vector<Token> tokenize_template(std::string_view source);

}  // namespace llm_tp::jinja

#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "decoding/grammar/grammar.h"

namespace llm_tp {

/// A cursor over a regular expression or a grammar file, and what both are written with.
class PatternReader {
 public:
  /// what: names the text in messages. Errors of all members: kUsage with line and column.
  PatternReader(std::string_view text, std::string what) : text_(text), what_(std::move(what)) {}
  bool at_end() const noexcept { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const noexcept {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool take(std::string_view word);
  void skip(std::size_t count) noexcept { at_ += count; }
  /// One code point of the text.
  char32_t code_point();
  /// Digits. At most 1,000,000.
  std::int32_t count();
  /// Takes *, +, ?, {m}, {m,}, {m,n} or {,n}: the least and the most times; nothing where none stands here.
  std::optional<std::pair<std::int32_t, std::int32_t>> repeat();
  /// [...] after its opening bracket was taken: ranges, escapes, ^ for all others.
  std::vector<Grammar::CodePoints> bracket();
  /// What stands after a backslash: a class (\d \w \s and their opposites) or one code point.
  std::vector<Grammar::CodePoints> escape();
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  std::pair<std::int32_t, std::int32_t> braces();  // what follows the opening brace
  char32_t hex(int digits);
  std::string_view text_;
  std::string what_;
  std::size_t at_ = 0;
};

}  // namespace llm_tp

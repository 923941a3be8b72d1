#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// A regular expression (Oniguruma's syntax, matched by PCRE2 with Unicode properties) or a literal text,
/// looked for from left to right. Immutable; any thread may use it.
class TextPattern {
 public:
  enum class Kind { kRegex, kLiteral };
  /// A part of a text, in bytes. Matches of nothing are parts too: a text is cut there.
  struct Part {
    std::size_t begin, end;
    bool match;
  };
  /// Errors: kBadData for a pattern that does not compile or is not supported, with its place.
  TextPattern(const std::string& pattern, Kind kind);
  TextPattern(TextPattern&&) noexcept;
  TextPattern& operator=(TextPattern&&) noexcept;
  ~TextPattern();
  /// The matches in `text`, which must be UTF-8, and what lies between them, in order; they cover the text.
  /// Errors: kBadData where the pattern needs unreasonable work on this text.
  std::vector<Part> parts(std::string_view text) const;
  /// The text with each match replaced.
  std::string replaced(std::string_view text, std::string_view by) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

/// One step of normalizers and decoders.
struct TextReplacement {
  TextPattern pattern;
  std::string by;
  std::string apply(std::string_view text) const { return pattern.replaced(text, by); }
};

}  // namespace llm_tp

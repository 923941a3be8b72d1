#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// What becomes of the matches of a pattern.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts text at the matches of a pattern (PCRE2 syntax with Unicode properties). Immutable; any thread may
/// use it.
class RegexSplitter {
 public:
  struct Options {
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;   // what lies between the matches counts as matches
    bool literal = false;  // the pattern is plain text
  };
  /// Errors: kBadData for a pattern that does not compile, with its place.
  explicit RegexSplitter(const std::string& pattern) : RegexSplitter(pattern, Options()) {}
  RegexSplitter(const std::string& pattern, Options options);
  RegexSplitter(RegexSplitter&&) noexcept;
  RegexSplitter& operator=(RegexSplitter&&) noexcept;
  ~RegexSplitter();
  /// Appends the pieces of `text`, which must be UTF-8, in order; none is empty.
  /// Errors: kBadData where the pattern needs unreasonable work on this text.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

/// The pattern with \s and \S spelled out as Unicode's White_Space: PCRE2's own \s holds U+180E too, which
/// the tokenizers' regular expressions do not.
std::string with_unicode_spaces(std::string_view pattern);

}  // namespace llm_tp

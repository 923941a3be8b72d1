#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/text_pattern.h"

namespace llm_tp {

/// What becomes of the matches of a pattern.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts text at the matches of a pattern. Immutable; any thread may use it.
class RegexSplitter {
 public:
  /// invert: what lies between the matches counts as matches.
  explicit RegexSplitter(TextPattern pattern, SplitBehavior behavior = SplitBehavior::kIsolated,
                         bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  /// Of a regular expression. Errors: kBadData for one that TextPattern refuses.
  explicit RegexSplitter(const std::string& pattern, SplitBehavior behavior = SplitBehavior::kIsolated,
                         bool invert = false)
      : RegexSplitter(TextPattern(pattern, TextPattern::Kind::kRegex), behavior, invert) {}
  /// Appends the pieces of `text`, which must be UTF-8, in order; none is empty.
  /// Errors: kBadData where the pattern needs unreasonable work on this text.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  TextPattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace llm_tp

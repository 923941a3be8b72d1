#include "text/regex_splitter.h"

#include <algorithm>

namespace llm_tp {
namespace {

using Part = TextPattern::Part;

/// Puts each part that `joins` says so to the end of the one before it.
template <typename Joins>
std::vector<Part> joined(const std::vector<Part>& parts, const Joins& joins) {
  std::vector<Part> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (!out.empty() && joins(part.match, previous)) {
      out.back().begin = std::min(out.back().begin, part.begin);
      out.back().end = std::max(out.back().end, part.end);
    } else {
      out.push_back(part);
    }
    previous = part.match;
  }
  return out;
}

bool match_after_text(bool match, bool previous) { return match && !previous; }
bool same_kind(bool match, bool previous) { return match == previous; }

std::vector<Part> cut(std::vector<Part> parts, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return parts;
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      return parts;
    case SplitBehavior::kContiguous:
      return joined(parts, same_kind);
    case SplitBehavior::kMergedWithPrevious:
      return joined(parts, match_after_text);
    case SplitBehavior::kMergedWithNext:  // the same from the right
      std::reverse(parts.begin(), parts.end());
      parts = joined(parts, match_after_text);
      std::reverse(parts.begin(), parts.end());
      return parts;
  }
  return parts;
}

}  // namespace

void RegexSplitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  std::vector<Part> parts = pattern_.parts(text);
  if (invert_) {
    for (Part& part : parts) part.match = !part.match;
  }
  for (const Part& part : cut(std::move(parts), behavior_)) {
    if (part.end > part.begin) pieces.push_back(text.substr(part.begin, part.end - part.begin));
  }
}

}  // namespace llm_tp

#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// A token that stands in the text as it is, before any other rule looks at the text.
struct AddedToken {
  std::string text;
  TokenId id = 0;
  bool special = true;      // control: found only where the caller wants special tokens parsed
  bool strip_left = false;  // takes the white space before it
  bool strip_right = false;
  bool single_word = false;  // not next to a letter, digit or underscore
  bool normalized = false;   // looked for in the normalised text
};

/// Finds added tokens: at each place the longest one, from left to right; where that one does not count (its
/// flags or the caller forbid it), none inside it does. Immutable; any thread may use it.
class SpecialTokenSplitter {
 public:
  SpecialTokenSplitter() = default;
  explicit SpecialTokenSplitter(std::vector<AddedToken> tokens);
  /// Calls on_text with each non-empty run of text and on_token with each added token, in order. Linear in
  /// the text for tokens of bounded length.
  void split(std::string_view text, bool parse_special, const std::function<void(std::string_view)>& on_text,
             const std::function<void(const AddedToken&)>& on_token) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t at) const;
  std::vector<AddedToken> tokens_;  // sorted by text
  std::vector<std::size_t> first_;  // of each first byte: its run in tokens_, 257 entries
};

}  // namespace llm_tp

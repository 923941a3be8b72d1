#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/text_pattern.h"
#include "text/unicode_forms.h"

namespace llm_tp {

/// The steps that change a text before it is cut into pieces, in order. Immutable; any thread may use it.
class Normalizer {
 public:
  struct Lowercase {};
  struct ByteAlphabet {};  // every byte becomes its code point of byte_alphabet.h
  struct Prepend {
    std::string text;
  };
  struct Strip {
    bool left, right;
  };
  using Step = std::variant<UnicodeForm, Lowercase, ByteAlphabet, TextReplacement, Prepend, Strip>;

  void add(Step step);
  /// Errors: kBadData where a pattern needs unreasonable work on this text.
  std::string apply(std::string text) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace llm_tp

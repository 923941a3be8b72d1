#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex_splitter.h"

namespace llm_tp {

/// The steps that cut a normalised text into the pieces a model encodes, in order, each for every piece of
/// the one before. Immutable; any thread may use it.
class PreTokenizer {
 public:
  struct PrefixSpace {};   // puts a space before a piece that does not start with one
  struct ByteAlphabet {};  // every byte becomes its code point of byte_alphabet.h
  /// Writes spaces as another character, and puts it before pieces that do not start with it: before none,
  /// the one at the start of the text, or all.
  struct Metaspace {
    enum class Prepend { kNever, kFirst, kAlways };
    std::string replacement;
    Prepend prepend = Prepend::kAlways;
  };
  using Step = std::variant<RegexSplitter, PrefixSpace, ByteAlphabet, Metaspace>;

  void add(Step step);
  /// Calls on_piece with each piece of `text`, which must be UTF-8; none is empty. A piece lives until the
  /// call returns. at_start: nothing stands before the text. Errors: kBadData where a pattern needs
  /// unreasonable work on this text.
  void split(std::string_view text, bool at_start,
             const std::function<void(std::string_view)>& on_piece) const;

 private:
  struct Run;
  std::vector<Step> steps_;
};

}  // namespace llm_tp

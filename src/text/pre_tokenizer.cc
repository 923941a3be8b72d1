#include "text/pre_tokenizer.h"

#include <utility>

#include "text/byte_alphabet.h"

namespace llm_tp {

/// A piece on its way through the steps; what a step makes of it goes to the next one at once, so that
/// changed texts live as long as they are needed.
struct PreTokenizer::Run {
  const std::vector<Step>& steps;
  const std::function<void(std::string_view)>& on_piece;

  void pass(std::size_t step, std::string_view piece, bool at_start) const {
    if (piece.empty()) return;
    if (step == steps.size()) return on_piece(piece);
    std::visit([&](const auto& rule) { apply(rule, step + 1, piece, at_start); }, steps[step]);
  }

  void apply(const RegexSplitter& splitter, std::size_t next, std::string_view piece, bool at_start) const {
    std::vector<std::string_view> parts;
    splitter.split(piece, parts);
    for (const std::string_view part : parts) pass(next, part, at_start && part.data() == piece.data());
  }

  void apply(PrefixSpace, std::size_t next, std::string_view piece, bool at_start) const {
    if (piece.front() == ' ') return pass(next, piece, at_start);
    pass(next, std::string(1, ' ').append(piece), at_start);
  }

  void apply(ByteAlphabet, std::size_t next, std::string_view piece, bool at_start) const {
    pass(next, alphabet_of_bytes(piece), at_start);
  }

  void apply(const Metaspace& rule, std::size_t next, std::string_view piece, bool at_start) const {
    std::string text;
    for (const char c : piece) {
      if (c == ' ')
        text += rule.replacement;
      else
        text += c;
    }
    const bool wanted = rule.prepend == Metaspace::Prepend::kAlways ||
                        (rule.prepend == Metaspace::Prepend::kFirst && at_start);
    if (wanted && !text.starts_with(rule.replacement)) text.insert(0, rule.replacement);
    pass(next, text, at_start);
  }
};

void PreTokenizer::add(Step step) { steps_.push_back(std::move(step)); }

void PreTokenizer::split(std::string_view text, bool at_start,
                         const std::function<void(std::string_view)>& on_piece) const {
  Run{steps_, on_piece}.pass(0, text, at_start);
}

}  // namespace llm_tp

#include "text/normalizer.h"

#include <utility>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

struct Apply {
  std::string text;
  std::string operator()(UnicodeForm form) const { return normalise_unicode(text, form); }
  std::string operator()(Normalizer::Lowercase) const { return lowercase(text); }
  std::string operator()(Normalizer::ByteAlphabet) const { return alphabet_of_bytes(text); }
  std::string operator()(const TextReplacement& step) const { return step.apply(text); }
  std::string operator()(const Normalizer::Prepend& step) const {
    return text.empty() ? text : step.text + text;
  }
  std::string operator()(Normalizer::Strip step) const {
    const std::string_view all = text;
    const std::size_t begin = step.left ? leading_space_bytes(all) : 0;
    const std::size_t end = all.size() - (step.right ? trailing_space_bytes(all.substr(begin)) : 0);
    return std::string(all.substr(begin, end - begin));
  }
};

}  // namespace

void Normalizer::add(Step step) { steps_.push_back(std::move(step)); }

std::string Normalizer::apply(std::string text) const {
  for (const Step& step : steps_) text = std::visit(Apply{std::move(text)}, step);
  return text;
}

}  // namespace llm_tp

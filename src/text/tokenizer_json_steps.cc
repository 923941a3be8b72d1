#include "text/tokenizer_json_steps.h"

#include <utility>

#include "base/error.h"
#include "text/named_pre_tokenizers.h"
#include "text/utf8.h"

namespace llm_tp {
namespace {

using LeadingSpaces = Vocabulary::LeadingSpaces;
using Metaspace = PreTokenizer::Metaspace;

[[noreturn]] void refuse_type(const JsonPlace& step, const std::string& type, const char* known) {
  step.at("type").fail("is " + type.substr(0, 50) + ", known are " + known + " and Sequence");
}

/// {"String": "…"} or {"Regex": "…"}.
TextPattern read_pattern(const JsonPlace& place) {
  const bool regex = place.has("Regex");
  try {
    return TextPattern(place.at(regex ? "Regex" : "String").string(),
                       regex ? TextPattern::Kind::kRegex : TextPattern::Kind::kLiteral);
  } catch (const Error& error) {
    if (regex && place.at("Regex").value().is_string())
      place.at("Regex").fail(std::string("cannot be used: ") + error.what());
    throw;
  }
}

SplitBehavior read_behavior(const JsonPlace& place) {
  const std::string name = place.is_null() ? "Isolated" : place.string();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  place.fail("is " + name.substr(0, 50) +
             ", known are Isolated, Removed, MergedWithPrevious, MergedWithNext and Contiguous");
}

/// A key that holds one character.
std::string read_character(const JsonPlace& place) {
  std::string text = place.string();
  if (text.empty() || static_cast<std::size_t>(utf8_step(text, 0).bytes) != text.size())
    place.fail("is \"" + text.substr(0, 50) + "\", one character was wanted");
  return text;
}

Metaspace read_metaspace(const JsonPlace& step) {
  Metaspace rule;
  rule.replacement = read_character(step.at("replacement"));
  const JsonPlace scheme = step.at("prepend_scheme");
  const std::string name = scheme.is_null() ? "always" : scheme.string();
  if (name == "never") {
    rule.prepend = Metaspace::Prepend::kNever;
  } else if (name == "first") {
    rule.prepend = Metaspace::Prepend::kFirst;
  } else if (name != "always") {
    scheme.fail("is " + name.substr(0, 50) + ", known are first, never and always");
  }
  // Files from before there was prepend_scheme.
  if (!step.boolean_or("add_prefix_space", true)) {
    if (!scheme.is_null() && rule.prepend != Metaspace::Prepend::kNever)
      scheme.fail("is " + name + " where add_prefix_space is false; the two contradict each other");
    rule.prepend = Metaspace::Prepend::kNever;
  }
  return rule;
}

/// A Strip of the decoder, behind everything that makes one text of the tokens.
LeadingSpaces read_strip(const JsonPlace& step) {
  if (step.at("content").string() != " ") step.at("content").fail("is supported for a space only");
  step.at("stop").integer(0, 0);
  return step.at("start").integer(0, 1) == 1 ? LeadingSpaces::kOneTaken : LeadingSpaces::kKept;
}

}  // namespace

Normalizer read_normalizer(const JsonPlace& place) {
  Normalizer out;
  for_each_step(place, "normalizers", [&](const JsonPlace& step, const std::string& type) {
    if (type == "NFC") {
      out.add(UnicodeForm::kNfc);
    } else if (type == "NFD") {
      out.add(UnicodeForm::kNfd);
    } else if (type == "NFKC") {
      out.add(UnicodeForm::kNfkc);
    } else if (type == "NFKD") {
      out.add(UnicodeForm::kNfkd);
    } else if (type == "Lowercase") {
      out.add(Normalizer::Lowercase());
    } else if (type == "ByteLevel") {
      out.add(Normalizer::ByteAlphabet());
    } else if (type == "Replace") {
      out.add(TextReplacement{read_pattern(step.at("pattern")), step.at("content").string()});
    } else if (type == "Prepend") {
      out.add(Normalizer::Prepend{step.at("prepend").string()});
    } else if (type == "Strip") {
      out.add(Normalizer::Strip{step.boolean_or("strip_left", true), step.boolean_or("strip_right", true)});
    } else {
      refuse_type(step, type, "NFC, NFD, NFKC, NFKD, Lowercase, ByteLevel, Replace, Prepend, Strip");
    }
  });
  return out;
}

PreTokenizer read_pre_tokenizer(const JsonPlace& place) {
  PreTokenizer out;
  for_each_step(place, "pretokenizers", [&](const JsonPlace& step, const std::string& type) {
    if (type == "Split") {
      out.add(RegexSplitter(read_pattern(step.at("pattern")), read_behavior(step.at("behavior")),
                            step.boolean_or("invert", false)));
    } else if (type == "ByteLevel") {
      if (step.boolean_or("add_prefix_space", true)) out.add(PreTokenizer::PrefixSpace());
      if (step.boolean_or("use_regex", true)) out.add(RegexSplitter(kGpt2Pattern));
      out.add(PreTokenizer::ByteAlphabet());
    } else if (type == "Metaspace") {
      Metaspace rule = read_metaspace(step);
      TextPattern mark(rule.replacement, TextPattern::Kind::kLiteral);
      out.add(std::move(rule));
      if (step.boolean_or("split", true))
        out.add(RegexSplitter(std::move(mark), SplitBehavior::kMergedWithNext));
    } else if (type == "Digits") {
      out.add(RegexSplitter(step.boolean_or("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)"));
    } else if (type == "Punctuation") {
      out.add(RegexSplitter(R"([\p{P}!-/:-@\[-`{-~])", read_behavior(step.at("behavior"))));
    } else if (type == "Whitespace") {
      out.add(
          RegexSplitter(R"([\w\x{200C}\x{200D}]+|[^\w\x{200C}\x{200D}\s]+)", SplitBehavior::kRemoved, true));
    } else if (type == "WhitespaceSplit") {
      out.add(RegexSplitter(R"(\s)", SplitBehavior::kRemoved));
    } else {
      refuse_type(step, type,
                  "Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit");
    }
  });
  return out;
}

Decoding read_decoder(const JsonPlace& place) {
  if (place.is_null())
    place.fail("is null; without a decoder there is no telling what text a token stands for");
  Decoding out;
  bool bytes_made =
      false;  // what stands for bytes has become them: no step may look at single texts any more
  const auto require_texts = [&](const JsonPlace& step, const std::string& type) {
    if (bytes_made)
      step.at("type").fail("is " + type + " behind a step that made bytes; that order is not supported");
  };
  bool fused = false;
  for_each_step(place, "decoders", [&](const JsonPlace& step, const std::string& type) {
    if (type == "Fuse") {
      bytes_made = fused = true;
    } else if (type == "Strip") {
      if (!fused) step.at("type").fail("is Strip before Fuse; that order is not supported");
      out.leading_spaces = read_strip(step);
    } else if (type == "ByteLevel") {
      require_texts(step, type);
      out.tokens.add(TokenDecoder::ByteAlphabet());
      bytes_made = fused = true;
    } else if (type == "ByteFallback") {
      require_texts(step, type);
      out.tokens.add(TokenDecoder::ByteTokens());
      bytes_made = true;
    } else if (type == "Replace") {
      require_texts(step, type);
      out.tokens.add(TextReplacement{read_pattern(step.at("pattern")), step.at("content").string()});
    } else if (type == "Metaspace") {
      require_texts(step, type);
      const Metaspace rule = read_metaspace(step);
      out.tokens.add(TextReplacement{TextPattern(rule.replacement, TextPattern::Kind::kLiteral), " "});
      if (rule.prepend != Metaspace::Prepend::kNever)
        out.leading_spaces = LeadingSpaces::kTakenFromFirstToken;
    } else {
      refuse_type(step, type, "ByteLevel, ByteFallback, Metaspace, Replace, Fuse, Strip");
    }
  });
  return out;
}

}  // namespace llm_tp

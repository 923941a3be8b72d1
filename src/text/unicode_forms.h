#pragma once
#include <string>
#include <string_view>

namespace llm_tp {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// \w of Unicode's regular expressions (UTS 18): alphabetic, marks, decimal digits, connectors, joiners.
bool is_word_character(char32_t code_point) noexcept;
/// A normalisation form of Unicode of UTF-8 text.
std::string normalise_unicode(std::string_view text, UnicodeForm form);
/// Each code point of UTF-8 text in lower case, whatever stands beside it.
std::string lowercase(std::string_view text);

}  // namespace llm_tp

#pragma once
#include <string>
#include <string_view>

namespace llm_tp {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// Letters, marks, digits and underscores.
bool is_word_character(char32_t code_point) noexcept;
/// A normalisation form of Unicode of UTF-8 text.
std::string normalise_unicode(std::string_view text, UnicodeForm form);

}  // namespace llm_tp

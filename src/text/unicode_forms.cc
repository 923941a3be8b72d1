#include "text/unicode_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "text/utf8.h"

namespace llm_tp {

bool is_word_character(char32_t code_point) noexcept {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
  const bool circled_letter =
      (code_point >= 0x24B6 && code_point <= 0x24E9) || (code_point >= 0x1F130 && code_point <= 0x1F149) ||
      (code_point >= 0x1F150 && code_point <= 0x1F169) || (code_point >= 0x1F170 && code_point <= 0x1F189);
  const bool joiner = code_point == 0x200C || code_point == 0x200D;
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC || circled_letter || joiner;
}

std::string lowercase(std::string_view text) {
  static constexpr char32_t kCapitalDottedI = 0x130;  // the one code point that becomes two
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.code_point == kCapitalDottedI) {
      out += "i\xCC\x87";
    } else {
      append_utf8(out,
                  static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(step.code_point))));
    }
    at += static_cast<std::size_t>(step.bytes);
  }
  return out;
}

std::string normalise_unicode(std::string_view text, UnicodeForm form) {
  // ASCII is its own form in all four; most text needs no work.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  int options = UTF8PROC_STABLE;
  options |= form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &raw, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  if (bytes == UTF8PROC_ERROR_NOMEM || bytes == UTF8PROC_ERROR_OVERFLOW) {
    throw Error(ExitCode::kOutOfMemory,
                "no memory to normalise a text of " + std::to_string(text.size()) + " bytes");
  }
  LLM_TP_CHECK(bytes >= 0, std::string("utf8proc: ") + utf8proc_errmsg(bytes));
  return std::string(reinterpret_cast<const char*>(raw), static_cast<std::size_t>(bytes));
}

}  // namespace llm_tp

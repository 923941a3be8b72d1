#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// How a text goes on at one place.
struct Utf8Step {
  enum class Kind : std::uint8_t { kWhole, kInvalid, kUnfinished } kind;
  int bytes;  // of the code point; of the part that can never become one; of what is left of the text
  char32_t code_point = 0;  // where kWhole
};

/// The code point at `at` < text.size(). An invalid part is as long as it can be while it is the start of
/// some code point (the Unicode standard's maximal subpart), so that a stream and a whole text are repaired
/// alike.
Utf8Step utf8_step(std::string_view text, std::size_t at) noexcept;

/// Byte offset of the first byte that is not UTF-8.
std::optional<std::size_t> first_invalid_utf8(std::string_view text) noexcept;
/// Errors: kUsage with the byte offset.
void require_utf8(std::string_view text);
/// Moves what is whole from `held` to the end of `out`; invalid parts become U+FFFD. An unfinished code point
/// at the end stays in `held`, unless `at_end`, where it is invalid too.
void take_whole_utf8(std::string& held, std::string& out, bool at_end);
/// The text with U+FFFD for each invalid part.
std::string repaired_utf8(std::string bytes);
void append_utf8(std::string& out, char32_t code_point);

/// Unicode's White_Space.
bool is_unicode_space(char32_t code_point) noexcept;
/// Bytes of white space at the ends of a text that is UTF-8.
std::size_t leading_space_bytes(std::string_view text) noexcept;
std::size_t trailing_space_bytes(std::string_view text) noexcept;
/// Where the last code point of a text starts, which is not empty and is UTF-8.
std::size_t start_of_last_code_point(std::string_view text) noexcept;

}  // namespace llm_tp

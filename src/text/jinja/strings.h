#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp::jinja {

/// Python's operations on str, over UTF-8. Case follows Unicode's simple mappings, and ß becomes SS.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalised(std::string_view text);
/// str.title(): a letter after a non-letter becomes a capital.
std::string titled(std::string_view text);
/// The filter title: Jinja2 sees words between blanks, hyphens and opening brackets alone.
std::string title_of_words(std::string_view text);
/// Takes code points of `characters` off; null: whitespace.
std::string stripped(std::string_view text, const std::string* characters, bool left, bool right);
/// At most `count` replacements; below 0: all.
std::string replaced(std::string_view text, std::string_view old, std::string_view by, std::int64_t count);
/// Null separator: runs of whitespace. At most `count` cuts; below 0: all.
std::vector<std::string> split(std::string_view text, const std::string* separator, std::int64_t count);
std::vector<std::string> split_from_right(std::string_view text, const std::string* separator,
                                          std::int64_t count);
/// At Python's line boundaries.
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
bool is_letter(char32_t point);
bool is_lower(char32_t point);
bool is_upper(char32_t point);
/// Whether there is a code point and all of them are such.
bool all_points(std::string_view text, bool (*is_such)(char32_t));
/// As Python's islower() and isupper(): some code point is such, and none is of the other case.
bool is_cased(std::string_view text, bool (*is_such)(char32_t), bool (*is_other)(char32_t));

}  // namespace llm_tp::jinja

#include "text/jinja/strings.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/jinja/value.h"
#include "text/utf8.h"

namespace llm_tp::jinja {
namespace {

template <typename Visit>
void each_point(std::string_view text, Visit visit) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    visit(step.code_point, text.substr(at, static_cast<std::size_t>(step.bytes)));
    at += static_cast<std::size_t>(step.bytes);
  }
}

void append_upper(std::string& out, char32_t point) {
  if (point == U'\u00df') {
    out += "SS";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(point))));
  }
}
void append_title(std::string& out, char32_t point) {
  if (point == U'\u00df') {
    out += "Ss";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(point))));
  }
}
void append_lower(std::string& out, char32_t point) {
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point))));
}

/// str.isspace: White_Space, and the four separators that Unicode leaves out.
bool is_python_space(char32_t point) { return is_unicode_space(point) || (point >= 0x1c && point <= 0x1f); }

bool is_line_end(char32_t point) {
  return (point >= 0x0a && point <= 0x0d) || (point >= 0x1c && point <= 0x1e) || point == 0x85 ||
         point == 0x2028 || point == 0x2029;
}

std::vector<std::string> split_at_spaces(std::string_view text, std::int64_t count) {
  std::vector<std::string> parts;
  std::string_view rest = text;
  for (;;) {
    const std::string cut = stripped(rest, nullptr, true, false);
    rest = rest.substr(rest.size() - cut.size());
    if (rest.empty()) return parts;
    if (count >= 0 && static_cast<std::int64_t>(parts.size()) >= count) {
      parts.emplace_back(rest);
      return parts;
    }
    std::size_t end = 0;
    while (end < rest.size()) {
      const Utf8Step step = utf8_step(rest, end);
      if (is_python_space(step.code_point)) break;
      end += static_cast<std::size_t>(step.bytes);
    }
    parts.emplace_back(rest.substr(0, end));
    rest = rest.substr(end);
  }
}

}  // namespace

bool is_letter(char32_t point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}
bool is_lower(char32_t point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(point)) == UTF8PROC_CATEGORY_LL;
}
bool is_upper(char32_t point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(point)) == UTF8PROC_CATEGORY_LU;
}

bool all_points(std::string_view text, bool (*is_such)(char32_t)) {
  bool all = !text.empty();
  each_point(text, [&](char32_t point, std::string_view) { all = all && is_such(point); });
  return all;
}

bool is_cased(std::string_view text, bool (*is_such)(char32_t), bool (*is_other)(char32_t)) {
  bool any = false, other = false;
  each_point(text, [&](char32_t point, std::string_view) {
    any = any || is_such(point);
    other = other || is_other(point);
  });
  return any && !other;
}

std::string upper(std::string_view text) {
  std::string out;
  each_point(text, [&out](char32_t point, std::string_view) { append_upper(out, point); });
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  each_point(text, [&out](char32_t point, std::string_view) { append_lower(out, point); });
  return out;
}

std::string capitalised(std::string_view text) {
  std::string out;
  bool is_first = true;
  each_point(text, [&](char32_t point, std::string_view) {
    is_first ? append_title(out, point) : append_lower(out, point);
    is_first = false;
  });
  return out;
}

std::string titled(std::string_view text) {
  std::string out;
  bool in_word = false;
  each_point(text, [&](char32_t point, std::string_view) {
    in_word ? append_lower(out, point) : append_title(out, point);
    in_word = is_letter(point);
  });
  return out;
}

std::string title_of_words(std::string_view text) {
  std::string out;
  bool in_word = false;
  each_point(text, [&](char32_t point, std::string_view) {
    in_word ? append_lower(out, point) : append_title(out, point);
    in_word =
        !is_python_space(point) && std::u32string_view(U"-({[<").find(point) == std::u32string_view::npos;
  });
  return out;
}

std::string stripped(std::string_view text, const std::string* characters, bool left, bool right) {
  std::u32string set;
  if (characters) each_point(*characters, [&set](char32_t point, std::string_view) { set += point; });
  const auto goes = [&](char32_t point) {
    return characters ? set.find(point) != std::u32string::npos : is_python_space(point);
  };
  while (left && !text.empty()) {
    const Utf8Step step = utf8_step(text, 0);
    if (!goes(step.code_point)) break;
    text.remove_prefix(static_cast<std::size_t>(step.bytes));
  }
  while (right && !text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xc0) == 0x80) --last;
    if (!goes(utf8_step(text, last).code_point)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::string replaced(std::string_view text, std::string_view old, std::string_view by, std::int64_t count) {
  std::string out;
  std::int64_t done = 0;
  if (old.empty()) {  // Python puts it between all code points
    each_point(text, [&](char32_t, std::string_view bytes) {
      if (count < 0 || done++ < count) out += by;
      out += bytes;
      check_text_size(out.size());
    });
    if (count < 0 || done < count) out += by;
    return out;
  }
  std::size_t at = 0;
  for (; count < 0 || done < count; ++done) {
    const std::size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += by;
    check_text_size(out.size());
    at = found + old.size();
  }
  return out += text.substr(at);
}

std::vector<std::string> split(std::string_view text, const std::string* separator, std::int64_t count) {
  if (!separator) return split_at_spaces(text, count);
  if (separator->empty()) throw Failure("empty separator");
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (count < 0 || static_cast<std::int64_t>(parts.size()) < count) {
    const std::size_t found = text.find(*separator, at);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(at, found - at));
    at = found + separator->size();
  }
  parts.emplace_back(text.substr(at));
  return parts;
}

std::vector<std::string> split_from_right(std::string_view text, const std::string* separator,
                                          std::int64_t count) {
  if (count < 0) return split(text, separator, count);
  if (!separator) throw Failure("rsplit() at whitespace with a count is not supported");
  if (separator->empty()) throw Failure("empty separator");
  std::vector<std::string> parts;
  while (static_cast<std::int64_t>(parts.size()) < count) {
    const std::size_t found = text.rfind(*separator);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(found + separator->size()));
    text = text.substr(0, found);
  }
  parts.emplace_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  std::string line;
  bool open = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    auto bytes = static_cast<std::size_t>(step.bytes);
    const bool ends = is_line_end(step.code_point);
    if (ends && text.substr(at, 2) == "\r\n") bytes = 2;
    if (!ends || keep_ends) line += text.substr(at, bytes);
    at += bytes;
    open = !ends;
    if (ends) lines.push_back(std::exchange(line, {}));
  }
  if (open) lines.push_back(std::move(line));
  return lines;
}

}  // namespace llm_tp::jinja

#include "text/utf8.h"

#include "base/error.h"

namespace llm_tp {

Utf8Step utf8_step(std::string_view text, std::size_t at) noexcept {
  using Kind = Utf8Step::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {Kind::kWhole, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kInvalid, 1};
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte alone tells overlong forms, surrogates and what lies above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFF >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if (at + static_cast<std::size_t>(i) >= text.size()) return {Kind::kUnfinished, i};
    const unsigned char next = byte(at + static_cast<std::size_t>(i));
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {Kind::kInvalid, i};
    code_point = (code_point << 6) | (next & 0x3F);
  }
  return {Kind::kWhole, length, code_point};
}

std::optional<std::size_t> first_invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.kind != Utf8Step::Kind::kWhole) return at;
    at += static_cast<std::size_t>(step.bytes);
  }
  return std::nullopt;
}

void require_utf8(std::string_view text) {
  if (const auto at = first_invalid_utf8(text)) {
    throw Error(ExitCode::kUsage,
                "the text is not UTF-8: byte " + std::to_string(static_cast<unsigned char>(text[*at])) +
                    " at byte offset " + std::to_string(*at) + "; convert the text to UTF-8");
  }
}

void take_whole_utf8(std::string& held, std::string& out, bool at_end) {
  std::size_t at = 0;
  while (at < held.size()) {
    const Utf8Step step = utf8_step(held, at);
    if (step.kind == Utf8Step::Kind::kUnfinished && !at_end) break;
    if (step.kind == Utf8Step::Kind::kWhole) {
      out.append(held, at, static_cast<std::size_t>(step.bytes));
    } else {
      out += "\xEF\xBF\xBD";
    }
    at += static_cast<std::size_t>(step.bytes);
  }
  held.erase(0, at);
}

std::string repaired_utf8(std::string bytes) {
  if (!first_invalid_utf8(bytes)) return bytes;
  std::string out;
  take_whole_utf8(bytes, out, true);
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool is_unicode_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::size_t leading_space_bytes(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = utf8_step(text, at);
    if (!is_unicode_space(step.code_point)) break;
    at += static_cast<std::size_t>(step.bytes);
  }
  return at;
}

std::size_t trailing_space_bytes(std::string_view text) noexcept {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t last = start_of_last_code_point(text.substr(0, end));
    if (!is_unicode_space(utf8_step(text, last).code_point)) break;
    end = last;
  }
  return text.size() - end;
}

std::size_t start_of_last_code_point(std::string_view text) noexcept {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace llm_tp

#include "decoding/grammar/pattern_reader.h"

#include <algorithm>

#include "base/error.h"

namespace llm_tp {
namespace {

using Ranges = std::vector<Grammar::CodePoints>;

Ranges class_of(char letter) {
  switch (letter) {
    case 'd':
      return {{U'0', U'9'}};
    case 'w':
      return {{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}};
    case 's':
      return {{U'\t', U'\r'}, {U' ', U' '}};
    default:
      return {};
  }
}

}  // namespace

void PatternReader::refuse(const std::string& why) const {
  const std::string_view before = text_.substr(0, at_);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
  throw Error(ExitCode::kUsage,
              what_ + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + why);
}

bool PatternReader::take(std::string_view word) {
  if (text_.substr(std::min(at_, text_.size()), word.size()) != word) return false;
  at_ += word.size();
  return true;
}

char32_t PatternReader::code_point() {
  const auto first = static_cast<unsigned char>(peek());
  const int more = first < 0x80 ? 0 : first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : -1;
  if (more < 0 || at_ + static_cast<std::size_t>(more) >= text_.size())
    refuse("found a byte that is no UTF-8");
  char32_t value = more == 0 ? first : first & (0x3Fu >> more);
  for (int i = 1; i <= more; ++i) {
    const auto next = static_cast<unsigned char>(peek(static_cast<std::size_t>(i)));
    if ((next & 0xC0u) != 0x80u) refuse("found a byte that is no UTF-8");
    value = value << 6 | (next & 0x3Fu);
  }
  at_ += static_cast<std::size_t>(more) + 1;
  return value;
}

std::int32_t PatternReader::count() {
  std::int32_t value = 0;
  if (peek() < '0' || peek() > '9') refuse("wanted a number");
  for (; peek() >= '0' && peek() <= '9'; ++at_) {
    value = value * 10 + (peek() - '0');
    if (value > 1000000) refuse("found a repeat count above 1000000, which is the bound");
  }
  return value;
}

std::optional<std::pair<std::int32_t, std::int32_t>> PatternReader::repeat() {
  if (take("*")) return std::pair{0, Grammar::kUnbounded};
  if (take("+")) return std::pair{1, Grammar::kUnbounded};
  if (take("?")) return std::pair{0, 1};
  if (take("{")) return braces();
  return std::nullopt;
}

std::pair<std::int32_t, std::int32_t> PatternReader::braces() {
  const std::int32_t least = peek() == ',' ? 0 : count();
  std::int32_t most = least;
  if (take(",")) most = peek() == '}' ? Grammar::kUnbounded : count();
  if (!take("}")) refuse("wanted } after the repeat counts");
  if (most != Grammar::kUnbounded && most < least) refuse("found repeat counts that fall");
  return {least, most};
}

char32_t PatternReader::hex(int digits) {
  char32_t value = 0;
  for (int i = 0; i < digits; ++i, ++at_) {
    const char c = peek();
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) refuse("wanted " + std::to_string(digits) + " hexadecimal digits");
    value = value * 16 + static_cast<char32_t>(digit);
  }
  return value;
}

Ranges PatternReader::escape() {
  if (at_end()) refuse("a backslash stands at the end");
  const char letter = peek();
  const auto single = [](char32_t c) { return Ranges{{c, c}}; };
  if (letter == 'd' || letter == 'w' || letter == 's') return skip(1), class_of(letter);
  if (letter == 'D' || letter == 'W' || letter == 'S')
    return skip(1), all_but(class_of(static_cast<char>(letter - 'A' + 'a')));
  if (take("n")) return single(U'\n');
  if (take("r")) return single(U'\r');
  if (take("t")) return single(U'\t');
  if (take("f")) return single(U'\f');
  if (take("v")) return single(U'\v');
  if (take("x")) return single(hex(2));
  if (take("u")) return single(hex(4));
  if (take("U")) return single(hex(8));
  if ((letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') ||
      (letter >= 'A' && letter <= 'Z'))
    refuse(std::string("\\") + letter + " is not supported");
  return single(code_point());
}

Ranges PatternReader::bracket() {
  const bool others = take("^");
  Ranges ranges;
  for (bool first = true; first || peek() != ']'; first = false) {
    if (at_end()) refuse("wanted ] at the end of the class");
    Ranges item = take("\\") ? escape() : Ranges{{peek() == 0 ? U'\0' : code_point(), 0}};
    if (item.size() == 1 && item[0].last == 0) item[0].last = item[0].first;
    const bool one = item.size() == 1 && item[0].first == item[0].last;
    if (one && peek() == '-' && peek(1) != ']') {
      skip(1);
      const Ranges high = take("\\") ? escape() : [&] {
        const char32_t c = code_point();
        return Ranges{{c, c}};
      }();
      if (high.size() != 1 || high[0].first != high[0].last || high[0].first < item[0].first)
        refuse("found a range that does not rise");
      item[0].last = high[0].first;
    }
    ranges.insert(ranges.end(), item.begin(), item.end());
  }
  skip(1);
  return others ? all_but(std::move(ranges)) : ranges;
}

}  // namespace llm_tp

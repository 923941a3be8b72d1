#include "text/oniguruma_syntax.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr std::string_view kSpaces = R"(\p{Z}\x09-\x0D\x85)";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHexDigit = "0-9A-Fa-f";
/// At the end of the text only where no empty line is there, as in Ruby.
constexpr std::string_view kLineEnd = R"((?:(?=\n)|(?<!\n)\z))";

[[noreturn]] void refuse(std::string_view pattern, const std::string& what) {
  throw Error(ExitCode::kBadData, "the pattern `" + std::string(pattern.substr(0, 200)) + "` has " + what +
                                      ", which is not supported");
}

/// What follows a backslash, inside a set or outside.
std::string escape(char c, bool in_set, std::string_view pattern) {
  const auto set = [&](std::string_view members, bool negated) {
    if (in_set && negated) refuse(pattern, std::string("\\") + c + " inside a set");
    return in_set ? std::string(members) : (negated ? "[^" : "[") + std::string(members) + "]";
  };
  switch (c) {
    case 's':
    case 'S':
      return set(kSpaces, c == 'S');
    case 'w':
    case 'W':
      return set(kWord, c == 'W');
    case 'h':
    case 'H':
      return set(kHexDigit, c == 'H');
    default:
      if (std::string_view("bBGKRXyYgkNO").find(c) != std::string_view::npos)
        refuse(pattern, std::string("\\") + c);
      return {'\\', c};
  }
}

void require_known_group(std::string_view pattern, std::size_t at) {
  static constexpr std::array<std::string_view, 7> kKnown = {"?:", "?i:", "?=", "?!", "?<=", "?<!", "?>"};
  const std::string_view rest = pattern.substr(at + 1);
  if (rest.starts_with('*')) refuse(pattern, "a group with (*");
  if (!rest.starts_with('?')) return;
  if (std::none_of(kKnown.begin(), kKnown.end(), [&](auto known) { return rest.starts_with(known); }))
    refuse(pattern, "the group (" + std::string(rest.substr(0, 3)));
}

}  // namespace

std::string pcre2_of_oniguruma(std::string_view pattern) {
  std::string out;
  std::size_t set_start = 0;  // the first member of the set that `at` is in; 0 outside
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    const std::string_view rest = pattern.substr(at + 1);
    const bool in_set = set_start != 0;
    if (c == '\\' && !rest.empty()) {
      out += escape(pattern[++at], in_set, pattern);
      // \p{L}, \x{41}: the braces belong to the escape.
      if (rest.substr(1).starts_with('{')) {
        const std::size_t end = std::min(pattern.find('}', at), pattern.size() - 1);
        out += pattern.substr(at + 1, end - at);
        at = end;
      }
    } else if (in_set) {
      if (c == '[') refuse(pattern, "a set inside a set");
      if (c == '&' && rest.starts_with('&')) refuse(pattern, "&& inside a set");
      if (c == ']' && at == set_start) refuse(pattern, "a set that starts with ]");
      if (c == ']') set_start = 0;
      out += c;
    } else if (c == '[') {
      out += c;
      if (rest.starts_with('^')) out += pattern[++at];
      set_start = at + 1;
    } else if (c == '$') {
      out += kLineEnd;
    } else {
      if (c == '(') require_known_group(pattern, at);
      if (c == '}' && rest.starts_with('+')) refuse(pattern, "}+");
      out += c;
    }
  }
  return out;
}

}  // namespace llm_tp

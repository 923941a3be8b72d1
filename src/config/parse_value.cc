#include "config/parse_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace llm_tp {
namespace {

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
constexpr std::int64_t kMaxSeconds = 366 * 86400;
constexpr std::array<std::pair<char, std::int64_t>, 4> kTimeUnits{
    {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}};

bool is_digit(char c) { return '0' <= c && c <= '9'; }
bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

std::string integer_hint(std::string_view text) {
  std::string_view digits = text;
  if (!digits.empty() && (digits.front() == '-' || digits.front() == '+')) digits.remove_prefix(1);
  if (digits.empty() || !is_digit(digits.front())) return "write a whole number in digits";
  if (digits.size() > 1 && digits[0] == '0' && all_digits(digits)) return "leave out the leading zero";
  if (text.front() == '+') return "leave out the +";
  if (digits.size() > 1 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o' || digits[1] == 'b'))
    return "write it in decimal digits";
  if (digits.find_first_of("eE") != std::string_view::npos)
    return "write it out in digits, without an exponent";
  if (digits.find('_') != std::string_view::npos) return "leave out the _";
  return "write a whole number in digits";
}

}  // namespace

Parsed<std::int64_t> parse_integer(std::string_view text, std::int64_t low, std::int64_t high) {
  const std::string_view digits = !text.empty() && text.front() == '-' ? text.substr(1) : text;
  if (!all_digits(digits) || (digits.size() > 1 && digits.front() == '0')) return {{}, integer_hint(text)};
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || value < low || value > high) return {};
  return {value, {}};
}

Parsed<double> parse_number(std::string_view text, double low, double high) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size()) return {{}, "write a decimal number such as 0.5"};
  if (failure != std::errc{} || !std::isfinite(value) || value < low || value > high) return {};
  return {value, {}};
}

Parsed<bool> parse_bool(std::string_view text) {
  if (text == "true") return {true, {}};
  if (text == "false") return {false, {}};
  for (const std::string_view yes : {"yes", "Yes", "YES", "y", "Y", "on", "On", "ON", "1", "True", "TRUE"})
    if (text == yes) return {{}, "write true"};
  for (const std::string_view no : {"no", "No", "NO", "n", "N", "off", "Off", "OFF", "0", "False", "FALSE"})
    if (text == no) return {{}, "write false"};
  return {};
}

Parsed<std::int64_t> parse_bytes(std::string_view text) {
  const std::size_t length =
      static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
  const std::string_view digits = text.substr(0, length);
  std::string_view suffix = text.substr(length);
  if (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 3> kSuffixes{
      {{"KiB", kKiB}, {"MiB", kKiB * kKiB}, {"GiB", kKiB * kKiB * kKiB}}};
  for (const auto& [name, unit] : kSuffixes) {
    if (suffix != name) continue;
    const Parsed<std::int64_t> count = parse_integer(digits, 1, kMaxBytes / unit);
    if (!count.value) return {{}, count.hint};
    return {*count.value * unit, {}};
  }
  return {{}, "write whole digits and a suffix, such as 512MiB or 8GiB"};
}

Parsed<std::int64_t> parse_duration(std::string_view text) {
  const char* const hint = "write whole numbers with d, h, m or s, the largest first: 3h50m, 90s";
  std::int64_t seconds = 0;
  std::size_t unit = 0;  // none may come twice, and larger ones come first
  while (!text.empty()) {
    const auto length =
        static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
    const Parsed<std::int64_t> count = parse_integer(text.substr(0, length), 0, kMaxSeconds);
    if (!count.value || length == text.size()) return {{}, hint};
    while (unit < kTimeUnits.size() && kTimeUnits[unit].first != text[length]) ++unit;
    if (unit == kTimeUnits.size()) return {{}, hint};
    seconds += *count.value * kTimeUnits[unit++].second;
    text.remove_prefix(length + 1);
  }
  if (seconds < 1 || seconds > kMaxSeconds) return {{}, hint};
  return {seconds, {}};
}

std::string duration_text(std::int64_t seconds) {
  std::string text;
  for (const auto& [name, unit] : kTimeUnits) {
    if (seconds >= unit) text += std::to_string(seconds / unit) + name;
    seconds %= unit;
  }
  return text.empty() ? "0s" : text;
}

std::string number_text(double value) {
  std::array<char, 32> buffer{};
  const auto [end, failure] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return failure == std::errc{} ? std::string(buffer.data(), end) : std::string("?");
}

std::string bytes_text(std::int64_t bytes) {
  const std::int64_t mib = kKiB * kKiB, gib = mib * kKiB;
  if (bytes % gib == 0) return std::to_string(bytes / gib) + "GiB";
  if (bytes % mib == 0) return std::to_string(bytes / mib) + "MiB";
  return std::to_string(bytes / kKiB) + "KiB";
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "\"";
  std::size_t shown = std::min(text.size(), kLongest);
  // A character of several bytes is not cut in two.
  while (shown < text.size() && shown > 0 && (static_cast<unsigned char>(text[shown]) & 0xC0) == 0x80)
    --shown;
  for (const char c : text.substr(0, shown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      constexpr std::string_view kHex = "0123456789abcdef";
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  if (shown < text.size()) out += "…";
  return out + "\"";
}

int edit_distance(std::string_view a, std::string_view b) {
  // Rows of the usual table; two rows back are kept for swaps.
  std::vector<int> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

}  // namespace llm_tp

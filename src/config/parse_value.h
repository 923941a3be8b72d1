#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llm_tp {

/// A value read from text, or why it was refused: `hint` is empty where the allowed range says it all.
template <class T>
struct Parsed {
  std::optional<T> value;
  std::string hint;
};

/// A whole number in plain decimal digits, low..high. 08, 1e3, 0x10, 1_000, +1 and 4.0 are refused with a
/// hint: YAML dialects disagree about them.
Parsed<std::int64_t> parse_integer(std::string_view text, std::int64_t low, std::int64_t high);

/// A finite decimal number, low..high; 1e-3 is fine, nan, inf and hexadecimal are not.
Parsed<double> parse_number(std::string_view text, double low, double high);

/// true or false. yes, on, 1 and their like are refused with a hint.
Parsed<bool> parse_bool(std::string_view text);

/// A count of bytes with its suffix, KiB, MiB or GiB: "512MiB", "8 GiB". At least 1 KiB, at most 2^50 bytes.
Parsed<std::int64_t> parse_bytes(std::string_view text);

/// A length of time in seconds, written as whole days, hours, minutes and seconds: "3h50m", "90s". At least a
/// second, at most 366 days.
Parsed<std::int64_t> parse_duration(std::string_view text);

/// Seconds as parse_duration takes them: "3h50m".
std::string duration_text(std::int64_t seconds);

/// The shortest text that reads back as the same number: "0.9", "1".
std::string number_text(double value);

/// A byte count as parse_bytes takes it, in the largest suffix that is exact: "8GiB".
std::string bytes_text(std::int64_t bytes);

/// `text` in double quotes on one line, control characters escaped and long texts cut: for error messages.
std::string in_quotes(std::string_view text);

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

}  // namespace llm_tp

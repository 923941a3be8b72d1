#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/utf8.h"

namespace llm_tp::jinja {
namespace {

constexpr std::size_t npos = std::string_view::npos;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string with_plain_line_ends(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = next_opening(at_);
      if (tag == npos) {
        add_text(source_.substr(at_));
        move_to(source_.size());
        break;
      }
      take_opening(tag);
    }
    tokens_.push_back({Token::Kind::kEnd, "", here_});
    return std::move(tokens_);
  }

 private:
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }

  void move_to(std::size_t to) {
    for (; at_ < to; ++at_) {
      if (source_[at_] == '\n') {
        ++here_.line;
        here_.column = 1;
      } else if ((source_[at_] & 0xc0) != 0x80) {
        ++here_.column;
      }
    }
  }
  void skip_spaces() {
    while (at_ < source_.size() && is_space(source_[at_])) move_to(at_ + 1);
  }

  std::size_t next_opening(std::size_t from) const {
    for (std::size_t i = source_.find('{', from); i != npos; i = source_.find('{', i + 1)) {
      const char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return npos;
  }

  void add_text(std::string_view text) {
    if (!text.empty()) tokens_.push_back({Token::Kind::kText, std::string(text), here_});
  }

  /// The text before a tag, less what the tag's sign and lstrip_blocks take away.
  std::string_view stripped_before(std::string_view text, char sign, bool is_print) const {
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
      return text;
    }
    if (sign == '+' || is_print) return text;
    const std::size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
    if (line == 0 && !at_line_start_) return text;
    const bool is_blank = std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), is_space);
    return is_blank ? text.substr(0, line) : text;
  }

  void take_opening(std::size_t tag) {
    const char type = source_[tag + 1];
    const char next = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    add_text(stripped_before(source_.substr(at_, tag - at_), sign, type == '{'));
    move_to(tag);
    const Position opening = here_;
    move_to(tag + (sign ? 3 : 2));
    at_line_start_ = false;
    if (type == '#') {
      skip_comment(opening);
    } else if (type == '%' && is_raw_tag()) {
      take_raw(opening);
    } else {
      tokens_.push_back({type == '{' ? Token::Kind::kPrintBegin : Token::Kind::kTagBegin, "", opening});
      take_inside(type == '{', opening);
    }
  }

  /// What follows the end of a tag: "-" takes all whitespace, a block's plain end one newline.
  void trim_after(char sign, bool is_print) {
    const std::size_t before = at_;
    if (sign == '-') {
      skip_spaces();
    } else if (!is_print && sign != '+' && peek() == '\n') {
      move_to(at_ + 1);
    }
    at_line_start_ = at_ > before && source_[at_ - 1] == '\n';
  }

  void skip_comment(Position opening) {
    const std::size_t end = source_.find("#}", at_);
    if (end == npos) fail_at(opening, "a comment that does not end: '#}' is missing");
    const char sign =
        end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : '\0';
    move_to(end + 2);
    trim_after(sign, false);
  }

  /// The length of "NAME %}" with blanks and a sign, from `from` on; 0 where something else stands there.
  std::size_t length_of_tag(std::size_t from, std::string_view name, char& sign) const {
    std::size_t i = from;
    const auto skip = [this, &i] {
      while (i < source_.size() && is_space(source_[i])) ++i;
    };
    skip();
    if (source_.substr(i, name.size()) != name) return 0;
    i += name.size();
    skip();
    sign = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i] : '\0';
    if (sign) ++i;
    return source_.substr(i, 2) == "%}" ? i + 2 - from : 0;
  }

  bool is_raw_tag() const {
    char sign = 0;
    return length_of_tag(at_, "raw", sign) > 0 && sign != '+';  // as Jinja2: "raw +%}" is none
  }

  void take_raw(Position opening) {
    char sign = 0;
    move_to(at_ + length_of_tag(at_, "raw", sign));
    if (sign == '-') skip_spaces();
    at_line_start_ = false;
    for (std::size_t end = source_.find("{%", at_); end != npos; end = source_.find("{%", end + 1)) {
      const char next = end + 2 < source_.size() ? source_[end + 2] : '\0';
      const char left = next == '-' || next == '+' ? next : '\0';
      const std::size_t inside = end + (left ? 3 : 2);
      char right = 0;
      const std::size_t length = length_of_tag(inside, "endraw", right);
      if (length == 0) continue;
      add_text(stripped_before(source_.substr(at_, end - at_), left, false));
      move_to(inside + length);
      trim_after(right, false);
      return;
    }
    fail_at(opening, "a raw block that does not end: '{% endraw %}' is missing");
  }

  void take_inside(bool is_print, Position opening) {
    const std::string_view closing = is_print ? "}}" : "%}";
    std::string brackets;
    for (;;) {
      skip_spaces();
      if (at_ >= source_.size())
        fail_at(opening, "a tag that does not end: '" + std::string(closing) + "' is missing");
      const char sign = peek() == '-' || (peek() == '+' && !is_print) ? peek() : '\0';
      if (brackets.empty() && source_.substr(at_ + (sign ? 1 : 0), 2) == closing) {
        tokens_.push_back({is_print ? Token::Kind::kPrintEnd : Token::Kind::kTagEnd, "", here_});
        move_to(at_ + (sign ? 3 : 2));
        trim_after(sign, is_print);
        return;
      }
      take_token(brackets);
    }
  }

  void take_token(std::string& brackets) {
    const char c = peek();
    if (is_name_start(c)) {
      std::size_t end = at_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      take(Token::Kind::kName, end);
    } else if (is_digit(c)) {
      take_number();
    } else if (c == '\'' || c == '"') {
      take_string(c);
    } else {
      take_operator(brackets);
    }
  }

  void take(Token::Kind kind, std::size_t end) {
    tokens_.push_back({kind, std::string(source_.substr(at_, end - at_)), here_});
    move_to(end);
  }

  std::size_t digits_from(std::size_t from) const {
    while (from < source_.size() && (is_digit(source_[from]) || (source_[from] == '_' && from > at_))) ++from;
    return from;
  }

  /// 12, 1.5, 1e3, 1_000. "1." is no number in Jinja2 either, and after a dot only an integer is.
  void take_number() {
    const Position begin = here_;
    std::size_t end = digits_from(at_);
    auto kind = Token::Kind::kInteger;
    const bool after_dot = !tokens_.empty() && tokens_.back().is_operator(".");
    if (!after_dot && end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      kind = Token::Kind::kFloat;
      end = digits_from(end + 1);
    }
    if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
      if (exponent < source_.size() && is_digit(source_[exponent])) {
        kind = Token::Kind::kFloat;
        end = digits_from(exponent);
      }
    }
    if (end < source_.size() && is_name_start(source_[end])) fail_at(begin, "a number that runs into a name");
    take(kind, end);
    std::string& digits = tokens_.back().text;
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    if (kind == Token::Kind::kInteger && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != npos)
      fail_at(begin, "an integer with a leading zero");
  }

  void take_string(char quote) {
    const Position begin = here_;
    std::string value;
    std::size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] == '\\') {
        i = append_escaped(i, begin, value);
      } else {
        value += source_[i++];
      }
    }
    if (i >= source_.size()) fail_at(begin, "a string that does not end");
    tokens_.push_back({Token::Kind::kString, std::move(value), begin});
    move_to(i + 1);
  }

  /// Reads the escape at source_[i], the backslash; gives the place after it. As Python's string literals.
  std::size_t append_escaped(std::size_t i, Position begin, std::string& value) const {
    if (i + 1 >= source_.size()) fail_at(begin, "a string that does not end");
    const char c = source_[i + 1];
    constexpr std::string_view letters = "ntrabfv\\'\"";
    constexpr std::string_view meanings = "\n\t\r\a\b\f\v\\'\"";
    if (const std::size_t known = letters.find(c); known != npos) {
      value += meanings[known];
      return i + 2;
    }
    if (c == '\n') return i + 2;
    if (c >= '0' && c <= '7') return append_code_point(i + 1, 3, 8, false, begin, value);
    if (c == 'x') return append_code_point(i + 2, 2, 16, true, begin, value);
    if (c == 'u') return append_code_point(i + 2, 4, 16, true, begin, value);
    if (c == 'U') return append_code_point(i + 2, 8, 16, true, begin, value);
    if (c == 'N') fail_at(begin, "a string with \\N: names of characters are not supported");
    value += '\\';  // Python keeps what it does not know
    return i + 1;
  }

  std::size_t append_code_point(std::size_t i, int digits, int base, bool all, Position begin,
                                std::string& value) const {
    constexpr std::string_view alphabet = "0123456789abcdef";
    char32_t point = 0;
    int read = 0;
    for (; read < digits && i < source_.size(); ++read, ++i) {
      const char lower =
          source_[i] >= 'A' && source_[i] <= 'F' ? static_cast<char>(source_[i] + 32) : source_[i];
      const std::size_t digit = alphabet.find(lower);
      if (digit >= static_cast<std::size_t>(base)) break;
      point = point * static_cast<char32_t>(base) + static_cast<char32_t>(digit);
    }
    if ((all && read < digits) || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
      fail_at(begin, "a string with an escape that is no character");
    append_utf8(value, point);
    return i;
  }

  void take_operator(std::string& brackets) {
    static constexpr std::array<std::string_view, 26> operators = {
        "==", "!=", ">=", "<=", "//", "**", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* const found = std::find_if(operators.begin(), operators.end(), [this](std::string_view op) {
      return source_.substr(at_, op.size()) == op;
    });
    if (found == operators.end())
      fail_at(here_, "a character that starts nothing: '" + std::string(1, peek()) + "'");
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') {
      brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c)
        fail_at(here_, "an unexpected '" + std::string(1, c) + "'");
      brackets.pop_back();
    }
    take(Token::Kind::kOperator, at_ + found->size());
  }

  std::string_view source_;
  std::size_t at_ = 0;
  Position here_;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(Position at, const std::string& message) {
  throw Error(ExitCode::kBadData,
              "chat template:" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " + message);
}

std::vector<Token> tokenize_template(std::string_view source) {
  const std::string plain = with_plain_line_ends(source);
  return Lexer(plain).run();
}

}  // namespace llm_tp::jinja

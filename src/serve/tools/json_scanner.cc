#include "serve/tools/json_scanner.h"

namespace llm_tp {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

bool JsonScanner::inside_scalar() const noexcept {
  switch (at_) {
    case At::kStart:
    case At::kFirstKey:
    case At::kKey:
    case At::kColon:
    case At::kFirstItem:
    case At::kValue:
    case At::kAfter:
      return false;
    default:
      return true;
  }
}

JsonScanner::Step JsonScanner::push(char byte) {
  const bool was_nested = open_.size() > 1, was_key = is_key_, was_inside = inside_scalar();
  if (!take(byte)) return Step::kBroken;
  // The byte behind a number ends it and is no part of it; the last byte of a string or a literal is.
  const bool ended_number = was_inside && (byte == ',' || byte == '}' || is_blank(byte)) && !inside_scalar();
  if (was_nested || open_.size() > 1)
    part_ = Part::kValue;
  else if (was_key || is_key_)
    part_ = Part::kKey;
  else
    part_ = (was_inside && !ended_number) || inside_scalar() ? Part::kValue : Part::kBetween;
  return open_.empty() ? Step::kWhole : Step::kGoesOn;
}

bool JsonScanner::begin_value(char byte) {
  switch (byte) {
    case '{':
    case '[':
      if (open_.size() == kDeepest) return false;
      open_ += byte;
      at_ = byte == '{' ? At::kFirstKey : At::kFirstItem;
      return true;
    case '"':
      at_ = At::kString;
      return true;
    case 't':
      rest_ = "rue";
      break;
    case 'f':
      rest_ = "alse";
      break;
    case 'n':
      rest_ = "ull";
      break;
    case '-':
      at_ = At::kMinus;
      return true;
    case '0':
      at_ = At::kZero;
      return true;
    default:
      at_ = At::kInteger;
      return is_digit(byte);
  }
  at_ = At::kLiteral;
  return true;
}

bool JsonScanner::close(char byte) {
  if (open_.empty() || (open_.back() == '{') != (byte == '}')) return false;
  open_.pop_back();
  at_ = At::kAfter;
  return true;
}

bool JsonScanner::after_value(char byte) {
  if (is_blank(byte)) {
    at_ = At::kAfter;
    return true;
  }
  if (byte == ',') {
    at_ = open_.back() == '{' ? At::kKey : At::kValue;
    return true;
  }
  return (byte == '}' || byte == ']') && close(byte);
}

bool JsonScanner::take(char byte) {
  const auto digit_then = [&](At next) {
    at_ = next;
    return is_digit(byte);
  };
  switch (at_) {
    case At::kStart:
      return byte == '{' && begin_value(byte);
    case At::kFirstKey:
      if (byte == '}') return close(byte);
      [[fallthrough]];
    case At::kKey:
      if (is_blank(byte)) return true;
      is_key_ = true;
      return byte == '"' && begin_value(byte);
    case At::kColon:
      if (byte == ':') at_ = At::kValue;
      return byte == ':' || is_blank(byte);
    case At::kFirstItem:
      if (byte == ']') return close(byte);
      [[fallthrough]];
    case At::kValue:
      return is_blank(byte) || begin_value(byte);
    case At::kAfter:
      return after_value(byte);
    case At::kString:
      if (byte == '\\') {
        at_ = At::kEscape;
      } else if (byte == '"') {
        at_ = is_key_ ? At::kColon : At::kAfter;
        is_key_ = false;
      }
      return static_cast<unsigned char>(byte) >= 0x20;
    case At::kEscape:
      at_ = byte == 'u' ? At::kHex : At::kString;
      hex_digits_ = 0;
      return byte == 'u' || std::string_view("\"\\/bfnrt").find(byte) != std::string_view::npos;
    case At::kHex:
      if (++hex_digits_ == 4) at_ = At::kString;
      return is_hex(byte);
    case At::kMinus:
      at_ = byte == '0' ? At::kZero : At::kInteger;
      return is_digit(byte);
    case At::kInteger:
      if (is_digit(byte)) return true;
      [[fallthrough]];
    case At::kZero:
      if (byte == '.') return at_ = At::kPoint, true;
      if (byte == 'e' || byte == 'E') return at_ = At::kExponent, true;
      return after_value(byte);
    case At::kPoint:
      return digit_then(At::kFraction);
    case At::kFraction:
      if (is_digit(byte)) return true;
      if (byte == 'e' || byte == 'E') return at_ = At::kExponent, true;
      return after_value(byte);
    case At::kExponent:
      if (byte == '+' || byte == '-') return at_ = At::kExponentSign, true;
      [[fallthrough]];
    case At::kExponentSign:
      return digit_then(At::kExponentDigits);
    case At::kExponentDigits:
      return is_digit(byte) || after_value(byte);
    case At::kLiteral:
      if (byte != rest_.front()) return false;
      rest_.remove_prefix(1);
      if (rest_.empty()) at_ = At::kAfter;
      return true;
  }
  return false;
}

}  // namespace llm_tp

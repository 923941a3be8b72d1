#include "text/jinja/format.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/utf8.h"

namespace llm_tp::jinja {
namespace {

bool is_printable(char32_t point) {
  if (point == U' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

/// \x41, \u0041 or \U00000041.
void append_escape(std::string& out, char letter, int digits, char32_t point) {
  out += '\\';
  out += letter;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(point >> shift) & 15];
}

std::string quoted(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    const char32_t point = step.code_point;
    if (point == U'\\' || point == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == U'\n') {
      out += "\\n";
    } else if (point == U'\r') {
      out += "\\r";
    } else if (point == U'\t') {
      out += "\\t";
    } else if (is_printable(point)) {
      out.append(text, at, static_cast<std::size_t>(step.bytes));
    } else if (point < 0x100) {
      append_escape(out, 'x', 2, point);
    } else if (point < 0x10000) {
      append_escape(out, 'u', 4, point);
    } else {
      append_escape(out, 'U', 8, point);
    }
    at += static_cast<std::size_t>(step.bytes);
  }
  return out + quote;
}

std::string joined_reprs(const std::vector<Value>& items) {
  std::string out;
  for (const Value& item : items) out += (out.empty() ? "" : ", ") + to_repr(item);
  return out;
}

std::string mapping_repr(const Mapping& mapping) {
  std::string out;
  for (const auto& [key, value] : mapping.items)
    out += (out.empty() ? "" : ", ") + to_repr(key) + ": " + to_repr(value);
  return "{" + out + "}";
}

std::string json_string(const std::string& text, bool ensure_ascii) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    const char32_t point = step.code_point;
    switch (point) {
      case U'"':
        out += "\\\"";
        break;
      case U'\\':
        out += "\\\\";
        break;
      case U'\n':
        out += "\\n";
        break;
      case U'\r':
        out += "\\r";
        break;
      case U'\t':
        out += "\\t";
        break;
      case U'\b':
        out += "\\b";
        break;
      case U'\f':
        out += "\\f";
        break;
      default:
        if (point < 0x20 || (ensure_ascii && point > 0x7e && point < 0x10000)) {
          append_escape(out, 'u', 4, point);
        } else if (ensure_ascii && point >= 0x10000) {  // a surrogate pair
          append_escape(out, 'u', 4, 0xd800 + ((point - 0x10000) >> 10));
          append_escape(out, 'u', 4, 0xdc00 + ((point - 0x10000) & 0x3ff));
        } else {
          out.append(text, at, static_cast<std::size_t>(step.bytes));
        }
    }
    at += static_cast<std::size_t>(step.bytes);
  }
  return out + '"';
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  std::string write(const Value& value) {
    append(value, 0);
    return std::move(out_);
  }

 private:
  void append(const Value& value, int level) {
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_bool()) {
      out_ += value.boolean() ? "true" : "false";
    } else if (value.is_float()) {
      out_ += json_float(value.number());
    } else if (value.is_integer()) {
      out_ += to_text(value);
    } else if (value.is_text()) {
      out_ += json_string(value.text(), style_.ensure_ascii);
    } else if (const Mapping* mapping = value.mapping()) {
      append_mapping(*mapping, level);
    } else if (const Sequence* list = value.sequence(); list && list->kind <= Sequence::Kind::kTuple) {
      append_list(*list, level);
    } else {
      throw Failure("Object of type " + value.type_name() + " is not JSON serializable");
    }
  }

  void append_list(const Sequence& list, int level) {
    if (list.items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    bool first = true;
    for (const Value& item : list.items) {
      separate(first, level + 1);
      append(item, level + 1);
    }
    close(']', level);
  }

  void append_mapping(const Mapping& mapping, int level) {
    if (mapping.items.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<std::pair<std::string, const Value*>> entries;
    for (const auto& [key, value] : mapping.items) entries.emplace_back(key_text(key), &value);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    out_ += '{';
    bool first = true;
    for (const auto& [key, value] : entries) {
      separate(first, level + 1);
      out_ += json_string(key, style_.ensure_ascii) + style_.key_separator;
      append(*value, level + 1);
    }
    close('}', level);
  }

  static std::string key_text(const Value& key) {
    if (key.is_text()) return key.text();
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.boolean() ? "true" : "false";
    if (key.is_float()) return json_float(key.number());
    if (key.is_integer()) return to_text(key);
    throw Failure("keys must be str, int, float, bool or None, not " + key.type_name());
  }

  static std::string json_float(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return shortest_float(number);
  }

  void separate(bool& first, int level) {
    if (!first) out_ += style_.item_separator;
    first = false;
    new_line(level);
    check_text_size(out_.size());
  }
  void close(char bracket, int level) {
    new_line(level);
    out_ += bracket;
  }
  void new_line(int level) {
    if (style_.indent < 0) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(level) * static_cast<std::size_t>(style_.indent), ' ');
  }

  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

std::string shortest_float(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[40];
  const char* const end =
      std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  const std::string written(static_cast<const char*>(buffer), end);
  const std::size_t mark = written.find('e');
  const int exponent = std::stoi(written.substr(mark + 1));
  // Python writes an exponent below 1e-4 and from 1e16 on, and to_chars' fixed form otherwise.
  if (exponent < -4 || exponent >= 16) return written;
  const char* const fixed_end =
      std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed).ptr;
  const std::string fixed(static_cast<const char*>(buffer), fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

std::string to_text(const Value& value) {
  if (value.is_text()) return value.text();
  if (value.is_undefined()) return {};
  return to_repr(value);
}

std::string to_repr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer(""));
  if (value.is_float()) return shortest_float(value.number());
  if (value.is_safe_text()) throw Failure("printing text marked safe inside another value is not supported");
  if (value.is_text()) return quoted(value.text());
  if (const Mapping* mapping = value.mapping()) return mapping_repr(*mapping);
  if (const Sequence* list = value.sequence()) {
    switch (list->kind) {
      case Sequence::Kind::kList:
        return "[" + joined_reprs(list->items) + "]";
      case Sequence::Kind::kTuple:
        return "(" + joined_reprs(list->items) + (list->items.size() == 1 ? ",)" : ")");
      default:
        break;
    }
  }
  // Python prints an address or a class here, which no template can mean.
  throw Failure("a " + value.type_name() + " cannot be printed");
}

std::string to_json(const Value& value, const JsonStyle& style) { return JsonWriter(style).write(value); }

}  // namespace llm_tp::jinja

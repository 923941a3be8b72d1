#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "text/jinja/argument_reader.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/sequence_filters.h"
#include "text/jinja/strings.h"

namespace llm_tp::jinja {
namespace {

template <std::string (*convert)(std::string_view)>
Value converted(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("a filter without parameters", arguments).finish();
  return convert(to_text(value));
}

Value trim(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("trim", arguments);
  const Value* characters = read.optional("chars");
  read.finish();
  const bool has_set = characters && !characters->is_none();
  return stripped(to_text(value), has_set ? &characters->require_text("chars") : nullptr, true, true);
}

Value replace(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("replace", arguments);
  const std::string old = to_text(read.required("old"));
  const std::string by = to_text(read.required("new"));
  const Value* count = read.optional("count");
  read.finish();
  return replaced(to_text(value), old, by, count && !count->is_none() ? count->integer("count") : -1);
}

Value indent(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("indent", arguments);
  const Value* width = read.optional("width");
  const Value* first = read.optional("first");
  const Value* blank = read.optional("blank");
  read.finish();
  std::string margin(4, ' ');
  if (width && width->is_text()) {
    margin = width->text();
  } else if (width) {
    margin.assign(static_cast<std::size_t>(std::clamp<std::int64_t>(width->integer("width"), 0, 1024)), ' ');
  }
  const std::vector<std::string> lines = split_lines(value.require_text("what to indent") + "\n", false);
  std::string out = first && first->truth() ? margin : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && ((blank && blank->truth()) || !lines[i].empty())) out += margin;
    out += lines[i];
    check_text_size(out.size());
  }
  return out;
}

Value string(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("string", arguments).finish();
  return value.is_text() ? value : Value(to_text(value));
}

Value safe(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("safe", arguments).finish();
  return Text{shared_text(to_text(value)), true};
}

Value default_value(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("default", arguments);
  const Value* otherwise = read.optional("default_value");
  const Value* for_false = read.optional("boolean");
  read.finish();
  const bool is_missing = value.is_undefined() || (for_false && for_false->truth() && !value.truth());
  return !is_missing ? value : otherwise ? *otherwise : Value("");
}

void no_undefined(const Value& value) {
  if (value.is_undefined()) throw Failure(value.undefined_sentence());
}

/// Python's float() of a text; false where it is none.
bool read_float(const std::string& text, double& number) {
  std::string digits = stripped(text, nullptr, true, true);
  if (!digits.empty() && digits[0] == '+') digits.erase(0, 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return error == std::errc() && end == digits.data() + digits.size();
}

Value to_integer(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("int", arguments);
  const Value* otherwise = read.optional("default");
  read.finish();
  no_undefined(value);
  double number = 0;
  if (value.is_integer() || value.is_bool()) return value.integer("");
  if (value.is_float()) {
    number = value.number();
  } else if (value.is_text()) {
    std::string digits = stripped(value.text(), nullptr, true, true);
    if (!digits.empty() && digits[0] == '+') digits.erase(0, 1);
    std::int64_t whole = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), whole);
    if (error == std::errc() && end == digits.data() + digits.size()) return whole;
    if (!read_float(value.text(), number)) number = std::nan("");
  } else {
    number = std::nan("");
  }
  if (std::abs(number) < 9e18) return static_cast<std::int64_t>(number);
  return otherwise ? *otherwise : Value(std::int64_t{0});
}

Value to_float(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("float", arguments);
  const Value* otherwise = read.optional("default");
  read.finish();
  no_undefined(value);
  double number = 0;
  if (value.is_number()) return value.number();
  if (value.is_text() && read_float(value.text(), number)) return number;
  return otherwise ? *otherwise : Value(0.0);
}

Value absolute(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader("abs", arguments).finish();
  if (value.is_bool()) return value.integer("");
  return less(value, std::int64_t{0}) ? negated(value) : value;
}

Value rounded(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("round", arguments);
  const Value* precision = read.optional("precision");
  const Value* method = read.optional("method");
  read.finish();
  const std::int64_t digits = precision ? precision->integer("precision") : 0;
  const std::string how = method ? method->require_text("method") : "common";
  no_undefined(value);
  if (!value.is_number() || digits < 0 || digits > 300)
    throw Failure("round of " + value.type_name() + " is not supported");
  if (how == "common") {
    if (!value.is_float()) return value.integer("");
    if (!std::isfinite(value.number())) return value;
    // The correctly rounded decimal of the exact value, as Python's round() gives.
    char buffer[700];
    const auto written = std::to_chars(buffer, buffer + sizeof buffer, value.number(),
                                       std::chars_format::fixed, static_cast<int>(digits));
    double result = 0;
    std::from_chars(buffer, written.ptr, result);
    return result;
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil") return std::ceil(value.number() * scale) / scale;
  if (how == "floor") return std::floor(value.number() * scale) / scale;
  throw Failure("round: method must be common, ceil or floor");
}

Value tojson(Interpreter&, const Value& value, const Arguments& arguments) {
  ArgumentReader read("tojson", arguments);
  const Value* ascii = read.optional("ensure_ascii");
  const Value* indent = read.optional("indent");
  const Value* separators = read.optional("separators");
  const Value* sort_keys = read.optional("sort_keys");
  read.finish();
  JsonStyle style;
  style.ensure_ascii = ascii && ascii->truth();
  style.sort_keys = sort_keys && sort_keys->truth();
  if (indent && !indent->is_none()) {
    style.indent = static_cast<int>(std::clamp<std::int64_t>(indent->integer("indent"), 0, 64));
    style.item_separator = ",";
  }
  if (separators && !separators->is_none()) {
    const std::vector<Value> pair = elements(*separators);
    if (pair.size() != 2) throw Failure("tojson: separators must be a pair");
    style.item_separator = pair[0].require_text("a separator");
    style.key_separator = pair[1].require_text("a separator");
  }
  return to_json(value, style);
}

const std::map<std::string_view, Filter>& text_filters() {
  static const std::map<std::string_view, Filter> table = {
      {"abs", absolute},
      {"capitalize", converted<capitalised>},
      {"d", default_value},
      {"default", default_value},
      {"float", to_float},
      {"indent", indent},
      {"int", to_integer},
      {"lower", converted<lower>},
      {"replace", replace},
      {"round", rounded},
      {"safe", safe},
      {"string", string},
      {"title", converted<title_of_words>},
      {"tojson", tojson},
      {"trim", trim},
      {"upper", converted<upper>},
  };
  return table;
}

}  // namespace

Filter find_filter(std::string_view name) {
  const auto found = text_filters().find(name);
  return found == text_filters().end() ? find_sequence_filter(name) : found->second;
}

}  // namespace llm_tp::jinja

#include <map>

#include "text/jinja/argument_reader.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/strings.h"

namespace llm_tp::jinja {
namespace {

bool is_boolean(const Value& value, bool wanted) { return value.is_bool() && value.boolean() == wanted; }

bool is_same(const Value& a, const Value& b) {
  const auto is_unique = [](const Value& value) { return value.is_bool() || value.is_none(); };
  if (!is_unique(a) && !is_unique(b))
    throw Failure("'sameas' without true, false or none on one side is not supported");
  return a.is_bool() == b.is_bool() && a.is_none() == b.is_none() && equal(a, b);
}

bool is_divisible(const Value& a, const Value& b) { return !binary("%", a, b).truth(); }
bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.sequence() || value.mapping();
}
bool is_indexed(const Value& value) {
  return value.is_undefined() || value.is_text() || value.mapping() ||
         (value.sequence() && value.sequence()->kind <= Sequence::Kind::kTuple);
}
bool greater(const Value& a, const Value& b) { return less(b, a); }
bool not_less(const Value& a, const Value& b) { return less(b, a) || equal(a, b); }
bool not_greater(const Value& a, const Value& b) { return less(a, b) || equal(a, b); }
bool unequal(const Value& a, const Value& b) { return !equal(a, b); }

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> table = {
      {"defined", +[](const Value& v) { return !v.is_undefined(); }},
      {"undefined", +[](const Value& v) { return v.is_undefined(); }},
      {"none", +[](const Value& v) { return v.is_none(); }},
      {"boolean", +[](const Value& v) { return v.is_bool(); }},
      {"true", +[](const Value& v) { return is_boolean(v, true); }},
      {"false", +[](const Value& v) { return is_boolean(v, false); }},
      {"integer", +[](const Value& v) { return v.is_integer(); }},
      {"float", +[](const Value& v) { return v.is_float(); }},
      {"number", +[](const Value& v) { return v.is_number(); }},
      {"string", +[](const Value& v) { return v.is_text(); }},
      {"mapping", +[](const Value& v) { return v.mapping() != nullptr; }},
      {"callable", +[](const Value& v) { return v.callable() != nullptr; }},
      {"sequence", is_indexed},
      {"iterable", is_iterable},
      {"odd", +[](const Value& v) { return equal(binary("%", v, std::int64_t{2}), std::int64_t{1}); }},
      {"even", +[](const Value& v) { return !binary("%", v, std::int64_t{2}).truth(); }},
      {"lower", +[](const Value& v) { return is_cased(to_text(v), is_lower, is_upper); }},
      {"upper", +[](const Value& v) { return is_cased(to_text(v), is_upper, is_lower); }},
      {"divisibleby", is_divisible},
      {"sameas", is_same},
      {"in", +[](const Value& item, const Value& container) { return contains(container, item); }},
      {"eq", equal},
      {"==", equal},
      {"equalto", equal},
      {"ne", unequal},
      {"!=", unequal},
      {"lt", less},
      {"<", less},
      {"lessthan", less},
      {"gt", greater},
      {">", greater},
      {"greaterthan", greater},
      {"le", not_greater},
      {"<=", not_greater},
      {"ge", not_less},
      {">=", not_less},
  };
  return table;
}

}  // namespace

bool Test::operator()(const Value& value, const Arguments& arguments) const {
  ArgumentReader read("a test", arguments);
  const Value* const other = of_two_ ? &read.required("other") : nullptr;
  read.finish();
  return of_two_ ? of_two_(value, *other) : of_one_(value);
}

const Test* find_test(std::string_view name) {
  const auto found = tests().find(name);
  return found == tests().end() ? nullptr : &found->second;
}

}  // namespace llm_tp::jinja
